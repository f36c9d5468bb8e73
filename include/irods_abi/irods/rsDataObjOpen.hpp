// SPDX-License-Identifier: BSD-3-Clause
// Opens or creates a data object; gives a descriptor.
#ifndef IRODS_ABI_RS_DATA_OBJ_OPEN_HPP
#define IRODS_ABI_RS_DATA_OBJ_OPEN_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"

int rsDataObjOpen(rsComm_t* rsComm, dataObjInp_t* dataObjInp);

#endif // IRODS_ABI_RS_DATA_OBJ_OPEN_HPP
