// SPDX-License-Identifier: BSD-3-Clause
// Labelled, typed parameters of rules.
#ifndef IRODS_ABI_MS_PARAM_H
#define IRODS_ABI_MS_PARAM_H

#include "irods/dataObjCopy.h"
#include "irods/execCmd.h"
#include "irods/objInfo.h"
#include "irods/structFileExtAndReg.h"

#define STR_MS_T "STR_PI"
#define INT_MS_T "INT_PI"
#define ExecCmdOut_MS_T "ExecCmdOut_PI"
#define KeyValPair_MS_T "KeyValPair_PI"

// Everything pointed to is allocated with malloc and freed by the server.
typedef struct MsParam {
    char* label;
    char* type;
    void* inOutStruct;
    bytesBuf_t* inpOutBuf;
} msParam_t;

typedef struct MsParamArray {
    int len;
    int oprType;
    msParam_t** msParam;
} msParamArray_t;

extern "C" {

// Appends a parameter; label and type are copied, the two pointers are taken over unless `replFlag` is set.
int addMsParamToArray(msParamArray_t* msParamArray,
                      const char* label,
                      const char* type,
                      void* inOutStruct,
                      bytesBuf_t* inpOutBuf,
                      int replFlag);

} // extern "C"

#endif // IRODS_ABI_MS_PARAM_H
