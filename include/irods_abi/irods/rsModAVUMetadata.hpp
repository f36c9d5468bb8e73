// SPDX-License-Identifier: BSD-3-Clause
// The classic metadata call: adding a triple twice is -809000.
#ifndef IRODS_ABI_RS_MOD_AVU_METADATA_HPP
#define IRODS_ABI_RS_MOD_AVU_METADATA_HPP

#include "irods/modAVUMetadata.h"

struct RsComm;

int rsModAVUMetadata(RsComm* rsComm, ModifyAVUMetadataInput* modAVUMetadataInp);

#endif // IRODS_ABI_RS_MOD_AVU_METADATA_HPP
