// SPDX-License-Identifier: BSD-3-Clause
// Makes or refreshes a replica.
#ifndef IRODS_ABI_RS_DATA_OBJ_REPL_HPP
#define IRODS_ABI_RS_DATA_OBJ_REPL_HPP

#include "irods/dataObjInpOut.h"
#include "irods/objInfo.h"
#include "irods/rcConnect.h"

int rsDataObjRepl(rsComm_t* rsComm, dataObjInp_t* dataObjInp, transferStat_t** transferStat);

#endif // IRODS_ABI_RS_DATA_OBJ_REPL_HPP
