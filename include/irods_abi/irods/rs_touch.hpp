// SPDX-License-Identifier: BSD-3-Clause
// Sets the modify time of a path, making the data object if need be.
#ifndef IRODS_ABI_RS_TOUCH_HPP
#define IRODS_ABI_RS_TOUCH_HPP

struct RsComm;

extern "C" int rs_touch(RsComm* comm, const char* json_input);

#endif // IRODS_ABI_RS_TOUCH_HPP
