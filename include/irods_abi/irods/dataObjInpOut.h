// SPDX-License-Identifier: BSD-3-Clause
// Arguments of the data object and collection operations. The struct tags are part of the ABI:
// boost::any compares them when a plugin takes an argument out of its list.
#ifndef IRODS_ABI_DATA_OBJ_INP_OUT_H
#define IRODS_ABI_DATA_OBJ_INP_OUT_H

#include "irods/objInfo.h"
#include "irods/rodsDef.h"
#include "irods/rodsType.h"

// DataObjInp::oprType, DataObjCopyInp's halves included.
#define PUT_OPR 1
#define GET_OPR 2
#define REPLICATE_OPR 6
#define COPY_DEST 9
#define COPY_SRC 10
#define RENAME_DATA_OBJ 11
#define RENAME_COLL 12
#define PHYMV_OPR 15
#define RENAME_UNKNOWN_TYPE 22
#define UNREG_OPR 26

// The kind of an open descriptor (`open_type` in file descriptor info).
#define CREATE_TYPE 1
#define OPEN_FOR_READ_TYPE 2
#define OPEN_FOR_WRITE_TYPE 3

typedef struct PortList {
    int portNum;
    int cookie;
    int sock;
    int windowSize;
    char hostAddr[LONG_NAME_LEN];
} portList_t;

// `openFlags` are those of open(2).
typedef struct DataObjInp {
    char objPath[MAX_NAME_LEN];
    int createMode;
    int openFlags;
    rodsLong_t offset;
    rodsLong_t dataSize;
    int numThreads;
    int oprType;
    specColl_t* specColl;
    keyValPair_t condInput;
} dataObjInp_t;

typedef struct OpenedDataObjInp {
    int l1descInx;
    int len;
    int whence;
    int oprType;
    rodsLong_t offset;
    rodsLong_t bytesWritten;
    keyValPair_t condInput;
} openedDataObjInp_t;

typedef struct portalOprOut {
    int status;
    int l1descInx;
    int numThreads;
    char chksum[CHKSUM_LEN];
    portList_t portList;
} portalOprOut_t;

typedef struct CollInp {
    char collName[MAX_NAME_LEN];
    int flags;
    int oprType;
    keyValPair_t condInput;
} collInp_t;

#endif // IRODS_ABI_DATA_OBJ_INP_OUT_H
