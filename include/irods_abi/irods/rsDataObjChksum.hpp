// SPDX-License-Identifier: BSD-3-Clause
// Computes or tells the checksum of a replica.
#ifndef IRODS_ABI_RS_DATA_OBJ_CHKSUM_HPP
#define IRODS_ABI_RS_DATA_OBJ_CHKSUM_HPP

#include "irods/dataObjInpOut.h"
#include "irods/rcConnect.h"

int rsDataObjChksum(rsComm_t* rsComm, dataObjInp_t* dataObjInp, char** outChksum);

#endif // IRODS_ABI_RS_DATA_OBJ_CHKSUM_HPP
