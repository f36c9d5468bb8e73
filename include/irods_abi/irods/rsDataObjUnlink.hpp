// SPDX-License-Identifier: BSD-3-Clause
// Removes a data object.
#ifndef IRODS_ABI_RS_DATA_OBJ_UNLINK_HPP
#define IRODS_ABI_RS_DATA_OBJ_UNLINK_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"

int rsDataObjUnlink(rsComm_t* rsComm, dataObjInp_t* dataObjUnlinkInp);

#endif // IRODS_ABI_RS_DATA_OBJ_UNLINK_HPP
