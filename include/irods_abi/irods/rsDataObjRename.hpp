// SPDX-License-Identifier: BSD-3-Clause
// Renames a data object or a collection.
#ifndef IRODS_ABI_RS_DATA_OBJ_RENAME_HPP
#define IRODS_ABI_RS_DATA_OBJ_RENAME_HPP

#include "irods/dataObjCopy.h"
#include "irods/rcConnect.h"

int rsDataObjRename(rsComm_t* rsComm, dataObjCopyInp_t* dataObjRenameInp);

#endif // IRODS_ABI_RS_DATA_OBJ_RENAME_HPP
