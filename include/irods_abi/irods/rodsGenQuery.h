// SPDX-License-Identifier: BSD-3-Clause
// GenQuery, the first: column numbers in, columns of fixed-width text out.
#ifndef IRODS_ABI_RODS_GEN_QUERY_H
#define IRODS_ABI_RODS_GEN_QUERY_H

#include "irods/objInfo.h"

#define MAX_SQL_ATTR 50
#define MAX_SQL_ROWS 256

#define ORDER_BY 0x400
#define ORDER_BY_DESC 0x800

#define NO_DISTINCT 0x40
#define AUTO_CLOSE 0x100

#define SELECT_MIN 2
#define SELECT_MAX 3
#define SELECT_SUM 4
#define SELECT_AVG 5
#define SELECT_COUNT 6

#define COL_ZONE_NAME 102
#define COL_ZONE_TYPE 103
#define COL_USER_ID 201
#define COL_USER_NAME 202
#define COL_USER_TYPE 203
#define COL_USER_ZONE 204
#define COL_R_RESC_ID 301
#define COL_R_RESC_NAME 302
#define COL_R_TYPE_NAME 304
#define COL_R_LOC 306
#define COL_R_VAULT_PATH 307
#define COL_R_RESC_PARENT 317
#define COL_D_DATA_ID 401
#define COL_D_COLL_ID 402
#define COL_DATA_NAME 403
#define COL_DATA_REPL_NUM 404
#define COL_DATA_TYPE_NAME 406
#define COL_DATA_SIZE 407
#define COL_D_RESC_NAME 409
#define COL_D_DATA_PATH 410
#define COL_D_OWNER_NAME 411
#define COL_D_OWNER_ZONE 412
#define COL_D_REPL_STATUS 413
#define COL_D_DATA_CHECKSUM 415
#define COL_D_CREATE_TIME 419
#define COL_D_MODIFY_TIME 420
#define COL_D_RESC_HIER 422
#define COL_D_RESC_ID 423
#define COL_COLL_ID 500
#define COL_COLL_NAME 501
#define COL_COLL_PARENT_NAME 502
#define COL_COLL_OWNER_NAME 503
#define COL_COLL_OWNER_ZONE 504
#define COL_COLL_INHERITANCE 506
#define COL_COLL_CREATE_TIME 508
#define COL_COLL_MODIFY_TIME 509
#define COL_META_DATA_ATTR_NAME 600
#define COL_META_DATA_ATTR_VALUE 601
#define COL_META_DATA_ATTR_UNITS 602
#define COL_META_COLL_ATTR_NAME 610
#define COL_META_COLL_ATTR_VALUE 611
#define COL_META_COLL_ATTR_UNITS 612
#define COL_META_RESC_ATTR_NAME 630
#define COL_META_RESC_ATTR_VALUE 631
#define COL_META_RESC_ATTR_UNITS 632
#define COL_META_USER_ATTR_NAME 640
#define COL_META_USER_ATTR_VALUE 641
#define COL_META_USER_ATTR_UNITS 642
#define COL_DATA_ACCESS_NAME 701
#define COL_COLL_ACCESS_NAME 711
#define COL_USER_GROUP_NAME 901
#define COL_RULE_EXEC_ID 1000
#define COL_RULE_EXEC_NAME 1001
#define COL_RULE_EXEC_USER_NAME 1003
#define COL_RULE_EXEC_TIME 1005
#define COL_RULE_EXEC_FREQUENCY 1006

typedef struct GenQueryInp {
    int maxRows;     // 0 closes the statement that `continueInx` names
    int continueInx; // 0 starts; else what the last answer gave
    int rowOffset;
    int options;
    keyValPair_t condInput;
    inxIvalPair_t selectInp; // column number, SELECT_* or ORDER_BY*
    inxValPair_t sqlCondInp; // column number, e.g. "= 'x'"
} genQueryInp_t;

// `value` is rowCnt cells of `len` bytes, each NUL-terminated.
typedef struct SqlResult {
    int attriInx;
    int len;
    char* value;
} sqlResult_t;

typedef struct GenQueryOut {
    int rowCnt;
    int attriCnt;
    int continueInx;
    int totalRowCount;
    sqlResult_t sqlResult[MAX_SQL_ATTR];
} genQueryOut_t;

#endif // IRODS_ABI_RODS_GEN_QUERY_H
