// SPDX-License-Identifier: BSD-3-Clause
// Moves a replica to another resource.
#ifndef IRODS_ABI_RS_DATA_OBJ_PHYMV_HPP
#define IRODS_ABI_RS_DATA_OBJ_PHYMV_HPP

#include "irods/dataObjInpOut.h"
#include "irods/objInfo.h"
#include "irods/rcConnect.h"

int rsDataObjPhymv(rsComm_t* rsComm, dataObjInp_t* dataObjInp, transferStat_t** transferStat);

#endif // IRODS_ABI_RS_DATA_OBJ_PHYMV_HPP
