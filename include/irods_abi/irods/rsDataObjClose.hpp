// SPDX-License-Identifier: BSD-3-Clause
// Closes an open data object.
#ifndef IRODS_ABI_RS_DATA_OBJ_CLOSE_HPP
#define IRODS_ABI_RS_DATA_OBJ_CLOSE_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"

int rsDataObjClose(rsComm_t* rsComm, openedDataObjInp_t* dataObjCloseInp);

#endif // IRODS_ABI_RS_DATA_OBJ_CLOSE_HPP
