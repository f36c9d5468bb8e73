// SPDX-License-Identifier: BSD-3-Clause
// Metadata operations on one entity, all or none. Release `*json_output` with free().
#ifndef IRODS_ABI_RS_ATOMIC_APPLY_METADATA_OPERATIONS_HPP
#define IRODS_ABI_RS_ATOMIC_APPLY_METADATA_OPERATIONS_HPP

struct RsComm;

extern "C" int rs_atomic_apply_metadata_operations(RsComm* comm, const char* json_input, char** json_output);

#endif // IRODS_ABI_RS_ATOMIC_APPLY_METADATA_OPERATIONS_HPP
