// SPDX-License-Identifier: BSD-3-Clause
// The session of a client in a server process. Members no plugin needs are kept as room only.
#ifndef IRODS_ABI_RC_CONNECT_H
#define IRODS_ABI_RC_CONNECT_H

#include "irods/dataObjInpOut.h"
#include "irods/irods_version.h"
#include "irods/objInfo.h"
#include "irods/rodsDef.h"
#include "irods/rodsError.h"
#include "irods/rodsLog.h"
#include "irods/rodsType.h"
#include "irods/rodsUser.h"

typedef struct RodsEnvironment {
#if IRODS_VERSION_MAJOR < 5
    char irods_abi_room[12472]; // has the control plane's and three more TLS settings
#else
    char irods_abi_room[8112];
#endif
} rodsEnv;

typedef struct RsComm {
    char irods_abi_room_1[108]; // protocol, sockets, addresses
    userInfo_t proxyUser;       // who logged in
    userInfo_t clientUser;      // on whose behalf
    rodsEnv myEnv;
    char irods_abi_room_2[656]; // client version, option, process log flag
    rError_t rError;
    void* irods_abi_room_3; // portal operation
    int apiInx;
    char irods_abi_room_4[1348]; // status, reconnection, TLS
    keyValPair_t session_props;
} rsComm_t;

#endif // IRODS_ABI_RC_CONNECT_H
