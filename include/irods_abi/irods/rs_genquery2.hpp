// SPDX-License-Identifier: BSD-3-Clause
// GenQuery2: on 0, `*output` is a JSON array of arrays of strings; release it with free().
#ifndef IRODS_ABI_RS_GENQUERY2_HPP
#define IRODS_ABI_RS_GENQUERY2_HPP

#include "irods/genquery2.h"

struct RsComm;

int rs_genquery2(RsComm* comm, Genquery2Input* input, char** output);

#endif // IRODS_ABI_RS_GENQUERY2_HPP
