// SPDX-License-Identifier: BSD-3-Clause
// Kind, size, owner of a path; the answer is released with free().
#ifndef IRODS_ABI_RS_OBJ_STAT_HPP
#define IRODS_ABI_RS_OBJ_STAT_HPP

#include "irods/objStat.h"

int rsObjStat(rsComm_t* rsComm, dataObjInp_t* dataObjInp, rodsObjStat_t** rodsObjStatOut);

#endif // IRODS_ABI_RS_OBJ_STAT_HPP
