// SPDX-License-Identifier: BSD-3-Clause
// Removes a collection.
#ifndef IRODS_ABI_RS_RM_COLL_HPP
#define IRODS_ABI_RS_RM_COLL_HPP

#include "irods/dataObjInpOut.h"
#include "irods/objInfo.h"
#include "irods/rcConnect.h"

int rsRmColl(rsComm_t* rsComm, collInp_t* rmCollInp, collOprStat_t** collOprStat);

#endif // IRODS_ABI_RS_RM_COLL_HPP
