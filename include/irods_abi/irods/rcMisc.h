// SPDX-License-Identifier: BSD-3-Clause
// Helpers for the structures of calls. Values are copied in and freed by clearKeyVal.
#ifndef IRODS_ABI_RC_MISC_H
#define IRODS_ABI_RC_MISC_H

#include "irods/objInfo.h"
#include "irods/rodsGenQuery.h"

extern "C" {

// The value, which stays the list's, or null.
char* getValByKey(const keyValPair_t* condInput, const char* keyWord);
int addKeyVal(keyValPair_t* condInput, const char* keyWord, const char* value);
int rmKeyVal(keyValPair_t* condInput, const char* keyWord);
int clearKeyVal(keyValPair_t* condInput);
int freeGenQueryOut(genQueryOut_t** genQueryOut);

} // extern "C"

#endif // IRODS_ABI_RC_MISC_H
