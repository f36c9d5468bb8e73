// SPDX-License-Identifier: BSD-3-Clause
// Seeks in an open data object. Release the answer with free().
#ifndef IRODS_ABI_RS_DATA_OBJ_LSEEK_HPP
#define IRODS_ABI_RS_DATA_OBJ_LSEEK_HPP

#include "irods/dataObjInpOut.h"
#include "irods/fileLseek.h"
#include "irods/rcConnect.h"

int rsDataObjLseek(rsComm_t* rsComm, openedDataObjInp_t* dataObjLseekInp, fileLseekOut_t** dataObjLseekOut);

#endif // IRODS_ABI_RS_DATA_OBJ_LSEEK_HPP
