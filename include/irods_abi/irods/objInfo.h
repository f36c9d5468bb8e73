// SPDX-License-Identifier: BSD-3-Clause
// Key-value lists and the catalog's view of data objects and collections.
#ifndef IRODS_ABI_OBJ_INFO_H
#define IRODS_ABI_OBJ_INFO_H

#include "irods/rodsType.h"
#include "irods/rodsUser.h"

// DATA_REPL_STATUS of a replica.
enum
{
    STALE_REPLICA,
    GOOD_REPLICA,
    INTERMEDIATE_REPLICA,
    READ_LOCKED,
    WRITE_LOCKED
};

typedef struct KeyValPair {
    int len;
    char** keyWord;
    char** value;
} keyValPair_t;

typedef struct SpecColl specColl_t;

typedef struct DataObjInfo {
    char objPath[MAX_NAME_LEN];
    char rescName[NAME_LEN];
    char rescHier[MAX_NAME_LEN];
    char dataType[NAME_LEN];
    rodsLong_t dataSize;
    char chksum[CHKSUM_LEN];
    char version[NAME_LEN];
    char filePath[MAX_NAME_LEN];
    char dataOwnerName[NAME_LEN];
    char dataOwnerZone[NAME_LEN];
    int replNum;
    int replStatus;
    char statusString[NAME_LEN];
    rodsLong_t dataId;
    rodsLong_t collId;
    int dataMapId;
    int flags;
    char dataComments[LONG_NAME_LEN];
    char dataMode[SHORT_STR_LEN];
    char dataExpiry[TIME_LEN];
    char dataCreate[TIME_LEN];
    char dataModify[TIME_LEN];
    char dataAccess[NAME_LEN];
    int dataAccessInx;
    int writeFlag;
    char destRescName[NAME_LEN];
    char backupRescName[NAME_LEN];
    char subPath[MAX_NAME_LEN];
    specColl_t* specColl;
    int regUid;
    int otherFlags;
    keyValPair_t condInput;
    char in_pdmo[MAX_NAME_LEN];
    struct DataObjInfo* next;
    rodsLong_t rescId;
    char dataAccessTime[TIME_LEN];
} dataObjInfo_t;

typedef struct CollInfo {
    rodsLong_t collId;
    char collName[MAX_NAME_LEN];
    char collParentName[MAX_NAME_LEN];
    char collOwnerName[NAME_LEN];
    char collOwnerZone[NAME_LEN];
    int collMapId;
    int collAccessInx;
    char collComments[LONG_NAME_LEN];
    char collInheritance[LONG_NAME_LEN];
    char collExpiry[TIME_LEN];
    char collCreate[TIME_LEN];
    char collModify[TIME_LEN];
    char collAccess[NAME_LEN];
    char collType[NAME_LEN];
    char collInfo1[MAX_NAME_LEN];
    char collInfo2[MAX_NAME_LEN];
    keyValPair_t condInput;
    struct CollInfo* next;
} collInfo_t;

typedef struct InxIvalPair {
    int len;
    int* inx;
    int* value;
} inxIvalPair_t;

typedef struct InxValPair {
    int len;
    int* inx;
    char** value;
} inxValPair_t;

typedef struct TransferStat {
    int numThreads;
    int flags;
    rodsLong_t bytesWritten;
} transferStat_t;

typedef struct CollectionOperationStat {
    int filesCnt;
    int totalFileCnt;
    rodsLong_t bytesWritten;
    char lastObjPath[MAX_NAME_LEN];
} collOprStat_t;

#endif // IRODS_ABI_OBJ_INFO_H
