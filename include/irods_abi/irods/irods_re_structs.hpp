// SPDX-License-Identifier: BSD-3-Clause
// The context of a rule: the way from a PEP to the session.
#ifndef IRODS_ABI_IRODS_RE_STRUCTS_HPP
#define IRODS_ABI_IRODS_RE_STRUCTS_HPP

#include "irods/msParam.h"
#include "irods/rcConnect.h"
#include "irods/rodsUser.h"
#include "irods/ruleExecSubmit.h"

typedef struct RuleExecInfo {
    int status;
    char statusStr[MAX_NAME_LEN];
    char ruleName[NAME_LEN];
    RsComm* rsComm;
    char pluginInstanceName[MAX_NAME_LEN];
    msParamArray_t* msParamArray;
    msParamArray_t inOutMsParamArray;
    int l1descInx;
    dataObjInp_t* doinp;
    dataObjInfo_t* doi;
    char rescName[NAME_LEN];
    userInfo_t* uoic;
    userInfo_t* uoip;
    collInfo_t* coi;
    userInfo_t* uoio;
    keyValPair_t* condInputData;
    char ruleSet[10 * MAX_NAME_LEN];
    struct RuleExecInfo* next;
} ruleExecInfo_t;

#endif // IRODS_ABI_IRODS_RE_STRUCTS_HPP
