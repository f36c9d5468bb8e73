// SPDX-License-Identifier: BSD-3-Clause
// A zone on disk, a server of it, and one client's connection to that server (an agent).
#ifndef ZONE_SESSION_HPP
#define ZONE_SESSION_HPP

#include "catalog.hpp"
#include "database.hpp"
#include "json.hpp"
#include "plugins.hpp"
#include "support.hpp"

#include "irods/rcConnect.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace zone
{
    // One server of a zone: its configuration and plugins. Lives in the agent factory and, copied by fork, in
    // every agent.
    struct Server
    {
        std::string directory; // of the zone
        std::string name;      // "provider", or a consumer's name
        std::string config_directory;
        Json config;
        std::string plugin_directory;
        bool is_provider = true;
        bool log_peps = false;
        std::string statistics_file;
        PluginHost plugins;

        std::string catalog_file() const { return directory + "/catalog.sqlite"; }
        std::string pep_log() const { return directory + "/pep.log"; }
        std::string server_log() const { return directory + "/server.log"; }
        std::string ledger() const { return directory + "/costs.log"; }
    };

    // An open data object.
    struct OpenReplica
    {
        Replica replica;
        int file = -1;
        int flags = 0;
        int open_type = 0; // CREATE_TYPE, OPEN_FOR_READ_TYPE, OPEN_FOR_WRITE_TYPE
        std::int64_t written = 0;
        std::int64_t size_at_open = 0;
        int status_at_open = 0;
        std::map<int, int> sibling_status; // by replica number, as they were before the lock
        std::string token;
        bool is_stream = false; // opened with replica_open
    };

    // Counts of what plugins asked of the exported functions, and of what the zone asked of plugins.
    using Statistics = std::map<std::string, std::int64_t>;

    class Remote; // the provider, seen from a consumer

    class Session
    {
      public:
        Session(Server& server, const std::string& user_with_zone);
        ~Session();
        Session(const Session&) = delete;
        Session& operator=(const Session&) = delete;

        Server& server() { return server_; }
        Catalog& catalog() { return catalog_; }
        RsComm* comm() { return comm_.get(); }

        // The session's client with the right its authFlag gives, whoever set that flag.
        Actor actor() const;
        // The client as the catalog knows the user.
        User client_user();
        bool privileged() const { return actor().privileged; }

        std::map<int, OpenReplica>& descriptors() { return descriptors_; }
        int add_descriptor(OpenReplica open);

        // What plugins asked of the exported functions, and of what the zone asked of plugins. Beside one count for
        // each function there are
        //   database_connections  opened for plugins: one for each GenQuery2 and each atomic metadata call, as 5.0.2
        //                         does it; GenQuery1, the classic metadata call and delayExec use the agent's own
        //   statements, rows      of SQL, run and read for plugins
        //   calls                 of all those functions
        //   forwarded             calls a consumer passed on to the provider
        Statistics& statistics() { return statistics_; }
        void count(const std::string& what, std::int64_t number = 1);
        // Appends the statistics to the zone's ledger, and to the file of --stats.
        void write_statistics();

        // The messages plugins left for the client, taken away.
        std::vector<std::string> take_messages();

        // Counts a call of a plugin; before the one of the number `dies_at_call` this process kills itself.
        void count_call();
        std::int64_t dies_at_call = 0;
        std::int64_t rule = 0; // the delayed rule this agent runs, 0 for a client's connection

        // Why the last operation failed, for the one who debugs a test.
        std::string last_failure;

        // Text irule prints, and other output of a verb.
        std::string output;

        Remote* remote() { return remote_.get(); }
        void set_remote(std::unique_ptr<Remote> remote);

      private:
        Server& server_;
        Database database_;
        Catalog catalog_;
        std::unique_ptr<RsComm> comm_;
        std::map<int, OpenReplica> descriptors_;
        Statistics statistics_;
        std::int64_t calls_ = 0;
        std::unique_ptr<Remote> remote_;
    };

    // The session of this process. Exported functions have nothing else to find it by.
    Session* current_session();
    // The server of this process, also where there is no session yet (in `setup`).
    Server* current_server();
    void set_current_server(Server* server);

    void fill_user(userInfo_t& info, const User& user);
    void log_line(const std::string& level, const std::string& text);

    // What an operation ended with. iRODS has operations that fail with code 0; those fire `_except` and
    // succeed for the client.
    struct Outcome
    {
        int code = 0;
        bool ok = true;
    };

    using Arguments = std::list<boost::any>;

    // Runs an operation between its policy enforcement points: _pre, then the operation, _post or _except, and
    // _finally. `operation` is the name after "pep_", e.g. "api_data_obj_put". `arguments` makes those of the
    // PEPs after the first two.
    Outcome with_policy(Session& session, const std::string& instance, const std::string& operation,
                        const std::function<Arguments()>& arguments, const std::function<Outcome()>& run);

    // An API operation: called by a client.
    template <typename... Args>
    int api(Session& session, const std::string& name, const std::function<int()>& run, Args... args)
    {
        return with_policy(
                   session, "api_instance", "api_" + name, [&] { return Arguments{boost::any(args)...}; },
                   [&run] {
                       const int code = run();
                       return Outcome{code, code >= 0 || code == SYS_NO_HANDLER_REPLY_MSG};
                   })
            .code;
    }

    // On a consumer there is no database plugin: the provider's fires these PEPs, about this path.
    void database_operation_on_provider(Session& session, const std::string& name, const std::string& path,
                                        const std::function<void()>& run);

    template <typename T>
    std::string path_of(const T*)
    {
        return "";
    }
    inline std::string path_of(const DataObjInfo* info) { return info->objPath; }
    inline std::string path_of(const CollInfo* info) { return info != nullptr ? info->collName : ""; }

    // An operation of the database plugin; throws Failure with the code it ended with.
    template <typename... Args>
    void database_operation(Session& session, const std::string& name, const std::function<void()>& run, Args... args)
    {
        if (session.remote() != nullptr) {
            std::string path;
            ((path = path.empty() ? path_of(args) : path), ...);
            database_operation_on_provider(session, name, path, run);
            return;
        }
        std::string out_parameter;
        std::string* out = &out_parameter;
        const auto outcome = with_policy(
            session, "sqlite_instance", "database_" + name, [&] { return Arguments{boost::any(out), boost::any(args)...}; },
            [&run] {
                run();
                return Outcome{};
            });
        if (outcome.code < 0) {
            throw Failure{outcome.code, session.last_failure};
        }
    }

    // The storage resource hears that a replica has changed.
    void resource_modified(Session& session, const std::string& resource);
} // namespace zone

#endif // ZONE_SESSION_HPP
