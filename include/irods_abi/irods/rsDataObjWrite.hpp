// SPDX-License-Identifier: BSD-3-Clause
// Writes to an open data object; gives the number of bytes.
#ifndef IRODS_ABI_RS_DATA_OBJ_WRITE_HPP
#define IRODS_ABI_RS_DATA_OBJ_WRITE_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"
#include "irods/rodsDef.h"

int rsDataObjWrite(rsComm_t* rsComm, openedDataObjInp_t* dataObjWriteInp, bytesBuf_t* dataObjWriteInpBBuf);

#endif // IRODS_ABI_RS_DATA_OBJ_WRITE_HPP
