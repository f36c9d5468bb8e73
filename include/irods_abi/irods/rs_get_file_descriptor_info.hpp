// SPDX-License-Identifier: BSD-3-Clause
// What a descriptor is open on. Release `*json_output` with free().
#ifndef IRODS_ABI_RS_GET_FILE_DESCRIPTOR_INFO_HPP
#define IRODS_ABI_RS_GET_FILE_DESCRIPTOR_INFO_HPP

struct RsComm;

extern "C" int rs_get_file_descriptor_info(RsComm* comm, const char* json_input, char** json_output);

#endif // IRODS_ABI_RS_GET_FILE_DESCRIPTOR_INFO_HPP
