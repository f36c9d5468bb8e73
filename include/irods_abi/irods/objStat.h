// SPDX-License-Identifier: BSD-3-Clause
// What rsObjStat tells of a logical path.
#ifndef IRODS_ABI_OBJ_STAT_H
#define IRODS_ABI_OBJ_STAT_H

#include "irods/rcConnect.h"
#include "irods/rodsType.h"

typedef struct rodsObjStat {
    rodsLong_t objSize;
    objType_t objType;
    unsigned int dataMode;
    char dataId[NAME_LEN];
    char chksum[NAME_LEN];
    char ownerName[NAME_LEN];
    char ownerZone[NAME_LEN];
    char createTime[TIME_LEN];
    char modifyTime[TIME_LEN];
    specColl_t* specColl;
    char rescHier[MAX_NAME_LEN];
} rodsObjStat_t;

#endif // IRODS_ABI_OBJ_STAT_H
