// SPDX-License-Identifier: BSD-3-Clause
// Who a session belongs to, and with which right.
#ifndef IRODS_ABI_RODS_USER_H
#define IRODS_ABI_RODS_USER_H

#include "irods/rodsDef.h"

// Values of AuthInfo::authFlag.
#define NO_USER_AUTH 0
#define PUBLIC_USER_AUTH 1
#define REMOTE_USER_AUTH 2
#define LOCAL_USER_AUTH 3
#define REMOTE_PRIV_USER_AUTH 4
#define LOCAL_PRIV_USER_AUTH 5

typedef struct AuthInfo {
    char authScheme[NAME_LEN];
    int authFlag;
    int flag;
    int ppid;
    char host[NAME_LEN];
    char authStr[NAME_LEN];
} authInfo_t;

typedef struct UserOtherInfo {
    char userInfo[NAME_LEN];
    char userComments[NAME_LEN];
    char userCreate[TIME_LEN];
    char userModify[TIME_LEN];
} userOtherInfo_t;

typedef struct UserInfo {
    char userName[NAME_LEN];
    char rodsZone[NAME_LEN];
    char userType[NAME_LEN];
    int sysUid;
    authInfo_t authInfo;
    userOtherInfo_t userOtherInfo;
} userInfo_t;

#endif // IRODS_ABI_RODS_USER_H
