// SPDX-License-Identifier: BSD-3-Clause
// Changes what the catalog says of a replica.
#ifndef IRODS_ABI_RS_MOD_DATA_OBJ_META_HPP
#define IRODS_ABI_RS_MOD_DATA_OBJ_META_HPP

#include "irods/modDataObjMeta.h"
#include "irods/rcConnect.h"

int rsModDataObjMeta(rsComm_t* rsComm, modDataObjMeta_t* modDataObjMetaInp);

#endif // IRODS_ABI_RS_MOD_DATA_OBJ_META_HPP
