// SPDX-License-Identifier: BSD-3-Clause
// What the two halves of the shim share: the session behind a call, and texts.
#ifndef OMERO_SHIM_HPP
#define OMERO_SHIM_HPP

#include "omero_plugin.h"

#include <irods/irods_re_structs.hpp>
#include <irods/rcConnect.h>

#include <cstdint>
#include <exception>
#include <string>
#include <type_traits>

namespace omero_shim
{
    // The opaque session of the boundary is the server's rule execution context.
    inline ruleExecInfo_t* context(omero_session* session)
    {
        return reinterpret_cast<ruleExecInfo_t*>(session);
    }

    inline omero_session* session(ruleExecInfo_t* context)
    {
        return reinterpret_cast<omero_session*>(context);
    }

    // The functions of omero_host, filled in once (host.cpp).
    const omero_host& host();

    // The iRODS version whose interface this was compiled for, `major.minor.patch`.
    const char* built_for();

    // The version of the server that has loaded us; empty where its libraries do not tell (they are not named as
    // iRODS names them).
    std::string server_version();

    // Says in the server's log that a call threw; what the log throws itself is dropped.
    void thrown(const char* what) noexcept;

    // A function as the core, or a part that must not throw, may call it: whatever it throws is told in the log and
    // becomes an error code, or else the empty value of its type. Every function the core is given goes through here.
    template <auto Function>
    struct callback;

    template <typename Result, typename... Arguments, Result (*Function)(Arguments...)>
    struct callback<Function>
    {
        static Result call(Arguments... arguments) noexcept
        {
            try {
                return Function(arguments...);
            }
            catch (const std::exception& e) {
                thrown(e.what());
            }
            catch (...) {
                thrown("unknown exception");
            }
            if constexpr (std::is_same_v<Result, int64_t>) {
                return internal_error;
            }
            else if constexpr (!std::is_void_v<Result>) {
                return Result{};
            }
        }

        // SYS_INTERNAL_ERR
        static constexpr int64_t internal_error = -154000;
    };

    inline omero_text text(const char* s)
    {
        return {s, s ? std::char_traits<char>::length(s) : 0};
    }

    inline omero_text text(const std::string& s)
    {
        return {s.data(), s.size()};
    }

    inline std::string str(omero_text t)
    {
        return t.size ? std::string(t.data, t.size) : std::string();
    }
} // namespace omero_shim

#endif // OMERO_SHIM_HPP
