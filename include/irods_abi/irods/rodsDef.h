// SPDX-License-Identifier: BSD-3-Clause
// Lengths and the few basic structures every other header builds on.
#ifndef IRODS_ABI_RODS_DEF_H
#define IRODS_ABI_RODS_DEF_H

#include <cstdio>
#include <cstring>

#include <sys/types.h>

#define TIME_LEN 32
#define NAME_LEN 64
#define CHKSUM_LEN 64
#define LONG_NAME_LEN 256
#define SHORT_STR_LEN 32
#define HEADER_TYPE_LEN 128
#define MAX_PATH_ALLOWED 1024
#define MAX_NAME_LEN (MAX_PATH_ALLOWED + 64)
#define META_STR_LEN (1024 * 20)

// Bytes with a length. `buf` is not NUL-terminated, also where it carries JSON.
typedef struct BytesBuf {
    int len;
    void* buf;
} bytesBuf_t;

typedef struct RodsHostAddress {
    char hostAddr[LONG_NAME_LEN];
    char zoneName[NAME_LEN];
    int portNum;
    int dummyInt;
} rodsHostAddr_t;

#endif // IRODS_ABI_RODS_DEF_H
