// SPDX-License-Identifier: BSD-3-Clause
// Reads from an open data object; gives the number of bytes.
#ifndef IRODS_ABI_RS_DATA_OBJ_READ_HPP
#define IRODS_ABI_RS_DATA_OBJ_READ_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"
#include "irods/rodsDef.h"

int rsDataObjRead(rsComm_t* rsComm, openedDataObjInp_t* dataObjReadInp, bytesBuf_t* dataObjReadOutBBuf);

#endif // IRODS_ABI_RS_DATA_OBJ_READ_HPP
