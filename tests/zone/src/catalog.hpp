// SPDX-License-Identifier: BSD-3-Clause
// The catalog: users, resources, collections, data objects, replicas, permissions and the delay queue, in
// tables named as iRODS names them. Nothing here fires a policy; that is for the server operations above.
#ifndef ZONE_CATALOG_HPP
#define ZONE_CATALOG_HPP

#include "database.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zone
{
    // Permission levels, as the token table numbers them.
    namespace access
    {
        constexpr int null = 1000;
        constexpr int read = 1050;
        constexpr int create_metadata = 1070;
        constexpr int modify_metadata = 1080;
        constexpr int delete_metadata = 1090;
        constexpr int create_object = 1110;
        constexpr int modify_object = 1120;
        constexpr int delete_object = 1130;
        constexpr int own = 1200;

        // "read", "read_object", "write", "own", "null" ...; Failure CAT_INVALID_ARGUMENT for anything else.
        int from_name(const std::string& name);
        std::string name_of(int level);
    } // namespace access

    // Who asks, and whether with the rights of an administrator of the zone (authFlag 5).
    struct Actor
    {
        std::string name;
        std::string zone;
        bool privileged = false;
    };

    struct User
    {
        std::int64_t id = 0;
        std::string name;
        std::string zone;
        std::string type;
    };

    struct Resource
    {
        std::int64_t id = 0;
        std::string name;
        std::string type;
        std::string vault;
        std::int64_t parent = 0; // 0: a root
    };

    struct Collection
    {
        std::int64_t id = 0;
        std::string path;
        std::string owner;
        std::string owner_zone;
        bool inherits = false;
    };

    struct Replica
    {
        std::int64_t data_id = 0;
        std::int64_t coll_id = 0;
        std::string path; // logical
        int number = 0;
        std::int64_t size = 0;
        int status = 0; // DATA_REPL_STATUS
        std::string physical_path;
        std::int64_t resource_id = 0;
        std::string hierarchy; // "root;child"
        std::string owner;
        std::string owner_zone;
        std::string checksum;
        std::string type;
        std::string modified;
    };

    // A row of the delay queue. What can be queried of its owner is `listed_user`, a name without a zone; who it runs as,
    // and who may delete it, is in its context (EXE_CONTEXT, JSON): name, zone, type and right of the session's client.
    struct DelayedRule
    {
        std::int64_t id = 0;
        std::string text;
        std::string listed_user;
        std::string user;
        std::string user_zone;
        std::string user_type;
        int auth_flag = 0;
        std::string due;       // seconds since the epoch, not padded, as PLUSET makes it; compared as text
        std::string frequency; // the EF text, rewritten by each run
        std::string priority;
        std::string instance;
        std::string last_run;
        // The delay server that runs it, "" if none does. One that dies leaves its locks behind, and no other takes them.
        std::string lock_host;
        std::string lock_pid;
        std::string lock_time;
    };

    class Catalog
    {
      public:
        Catalog(Database& database, std::string zone_name);

        static void create_schema(Database& database, const std::string& zone_name);
        // The zone a catalog file was made for.
        static std::string zone_of(Database& database);

        Database& database() { return database_; }
        const std::string& zone() const { return zone_; }
        std::int64_t next_id();

        // Users and groups.
        std::int64_t add_user(const std::string& name, const std::string& type, const std::string& zone);
        void add_to_group(const std::string& group, const std::string& user);
        // Takes permissions, memberships and AVUs along, but no data: that keeps the name of its owner. Delayed rules stay,
        // and run.
        void remove_user(const User& user);
        std::optional<User> find_user(const std::string& name, const std::string& zone);
        User user(const std::string& name, const std::string& zone); // Failure CAT_INVALID_USER

        // Resources.
        std::int64_t add_resource(const std::string& name, const std::string& type, const std::string& vault,
                                  const std::string& parent);
        std::optional<Resource> find_resource(const std::string& name);
        Resource resource(const std::string& name); // Failure SYS_RESC_DOES_NOT_EXIST
        Resource resource(std::int64_t id);
        std::string hierarchy(std::int64_t resource_id);
        std::vector<Resource> leaves(const Resource& root);

        // Collections.
        std::optional<Collection> find_collection(const std::string& path);
        Collection collection(const std::string& path); // Failure CAT_UNKNOWN_COLLECTION
        // Registers one collection below an existing one; permissions are inherited if that one says so.
        Collection create_collection(const std::string& path, const User& owner);
        void remove_collection(std::int64_t id);
        void touch_collection(const std::string& path);
        void set_inheritance(std::int64_t id, bool inherits);
        std::vector<Collection> child_collections(const std::string& path);

        // Data objects.
        std::optional<std::int64_t> find_data(const std::string& path);
        std::vector<Replica> replicas(std::int64_t data_id);
        std::vector<Replica> data_in(const std::string& collection); // lowest replica of each, by name
        // Registers a first replica and the data object's permissions.
        Replica register_data(const std::string& path, const User& owner, const Resource& resource,
                              const std::string& physical_path, std::int64_t size, int status, const std::string& type);
        Replica register_replica(const Replica& source, const Resource& resource, const std::string& physical_path,
                                 std::int64_t size, int status);
        void set_status(std::int64_t data_id, int number, int status);
        void set_siblings_status(std::int64_t data_id, int number, int status);
        void finish_replica(std::int64_t data_id, int number, std::int64_t size, int status, const std::string& modified);
        void set_modify_time(std::int64_t data_id, int number, const std::string& modified);
        void set_physical_path(std::int64_t data_id, int number, const std::string& physical_path);
        void set_checksum(std::int64_t data_id, int number, const std::string& checksum);
        void set_replica_place(std::int64_t data_id, int number, std::int64_t resource_id, const std::string& physical_path);
        void remove_replica(std::int64_t data_id, int number); // the last one takes permissions and metadata along
        void move_data(std::int64_t data_id, const std::string& path);
        void move_collection(const std::string& from, const std::string& to);

        // Permissions.
        int access(std::int64_t object_id, const Actor& actor); // highest over the user and the groups; 0 if none
        void require(std::int64_t object_id, const Actor& actor, int level, int failure_code, const std::string& path);
        void set_access(std::int64_t object_id, const User& user, int level);
        struct Permission
        {
            std::string user;
            std::string zone;
            int level = 0;
        };
        std::vector<Permission> permissions(std::int64_t object_id);

        // The delay queue.
        std::int64_t add_rule(const DelayedRule& rule);
        std::vector<DelayedRule> rules();
        // Those a delay server fetches: due and without a lock, the most urgent first.
        std::vector<std::int64_t> due_rules(const std::string& now);
        std::optional<DelayedRule> rule(std::int64_t id);
        // False if it is locked, or gone.
        bool lock_rule(std::int64_t id, const std::string& host, int pid);
        void reschedule_rule(std::int64_t id, const std::string& last_run, const std::string& due,
                             const std::optional<std::string>& frequency);
        void remove_rule(std::int64_t id);

      private:
        Database& database_;
        std::string zone_;
    };
} // namespace zone

#endif // ZONE_CATALOG_HPP
