// SPDX-License-Identifier: BSD-3-Clause
// What clients can ask of a server. Each function is one API call: it fires that call's policy enforcement
// points around the work, and gives the code the client gets. Several calls in a row, as a client program
// makes them, are verbs.hpp.
#ifndef ZONE_OPERATIONS_HPP
#define ZONE_OPERATIONS_HPP

#include "session.hpp"

#include "irods/bulkDataObjPut.h"
#include "irods/dataObjCopy.h"
#include "irods/dataObjInpOut.h"
#include "irods/modAVUMetadata.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace zone
{
    // The argument of most calls, with its keywords; frees them.
    class DataObjInput
    {
      public:
        explicit DataObjInput(const std::string& path);
        ~DataObjInput();
        DataObjInput(const DataObjInput&) = delete;
        DataObjInput& operator=(const DataObjInput&) = delete;

        DataObjInput& with(const char* keyword, const std::string& value = "");
        bool has(const char* keyword) const;
        std::string value(const char* keyword) const;
        DataObjInp* get() { return &input_; }
        DataObjInp* operator->() { return &input_; }
        std::string path() const { return input_.objPath; }

      private:
        DataObjInp input_;
    };

    // ---- data objects: whole files (data_transfer.cpp) --------------------------------------------------------

    struct PutOptions
    {
        bool force = false;
        bool parallel = false; // through the portal, as files above 32 MiB go
        std::string resource;
        std::string type;
        std::string metadata; // "attribute;value;units;..." of iput --metadata
        std::int64_t single_buffer_limit = 32LL * 1024 * 1024;
    };
    int put(Session& session, const std::string& local, const std::string& path, const PutOptions& options);
    int get(Session& session, const std::string& path, const std::string& local);
    int copy(Session& session, const std::string& from, const std::string& to, bool force, const std::string& resource);
    // irsync from one data object to another.
    int synchronise(Session& session, const std::string& from, const std::string& to);

    struct BulkFile
    {
        std::string local;
        std::string path;
    };
    int bulk_put(Session& session, const std::string& collection, const std::vector<BulkFile>& files);
    // Extracts a tar archive that is a data object into a collection.
    int extract(Session& session, const std::string& archive, const std::string& collection, bool force);

    struct RegisterOptions
    {
        bool recursive = false;
        bool replica = false;
        bool force = false;
        std::string resource;
        std::string type;
    };
    int register_path(Session& session, const std::string& physical, const std::string& path, const RegisterOptions& options);

    int replicate(Session& session, const std::string& path, const std::string& resource, bool update, bool admin);
    int move_replica(Session& session, const std::string& path, const std::string& from, const std::string& to, bool admin);
    struct TrimOptions
    {
        std::string replica;  // a number; "" for as many as may go
        std::string resource; // a root; only replicas there
        int keep = 1;         // the API's own default is 2
        bool admin = false;
    };
    int trim(Session& session, const std::string& path, const TrimOptions& options);
    // replica_truncate, also to a greater size.
    int truncate(Session& session, const std::string& path, std::int64_t size, const std::string& replica_number, bool admin);
    int tier(Session& session, const std::string& path, const std::string& from, const std::string& to);
    int checksum(Session& session, const std::string& path, std::string& text);

    // The same without API PEPs, as other server code calls them. They throw Failure.
    void copy_without_policy(Session& session, const std::string& from, const std::string& to, bool force,
                             const std::string& resource);
    void replicate_without_policy(Session& session, DataObjInp& input);
    void move_replica_without_policy(Session& session, DataObjInp& input);
    std::string checksum_without_policy(Session& session, DataObjInp& input);

    // ---- data objects: streams (streams.cpp) ------------------------------------------------------------------

    // Each gives a descriptor (3 or more) or a code.
    int open_data(Session& session, const std::string& path, int flags, const std::string& resource);
    int create_data(Session& session, const std::string& path, bool force, const std::string& resource);
    struct ReplicaOpen
    {
        int descriptor = 0;
        std::string token; // for the further streams into the same replica
    };
    ReplicaOpen open_replica(Session& session, const std::string& path, int flags, const std::string& resource, const std::string& token);

    // A second descriptor of the same replica, opened with data_obj_open and the first one's token, as the
    // Python client does for a large file.
    int open_further_stream(Session& session, int descriptor);

    int write_data(Session& session, int descriptor, const std::string& bytes);
    int read_data(Session& session, int descriptor, int length, std::string& bytes);
    int seek_data(Session& session, int descriptor, std::int64_t offset, int whence);
    int close_data(Session& session, int descriptor);
    struct ReplicaClose
    {
        bool update_size = true;
        bool update_status = true;
        bool send_notifications = true;
    };
    int close_replica(Session& session, int descriptor, const ReplicaClose& options);
    int get_descriptor_info(Session& session, int descriptor, std::string& json);
    std::string descriptor_info_without_policy(Session& session, const std::string& json);

    // The same without API PEPs, as other server code calls them. They throw Failure.
    int open_without_policy(Session& session, const std::string& path, int flags, const std::string& resource);
    int write_without_policy(Session& session, int descriptor, const std::string& bytes);
    int read_without_policy(Session& session, int descriptor, int length, std::string& bytes);
    void seek_without_policy(Session& session, int descriptor, std::int64_t offset, int whence);
    void close_without_policy(Session& session, int descriptor);

    // What the agent does with what is still open when its client is gone: nothing is told to anybody, and
    // what was being written becomes stale.
    void abandon_descriptors(Session& session);

    int touch(Session& session, const std::string& path, bool no_create, const std::string& seconds_since_epoch);
    void touch_without_policy(Session& session, const std::string& json);

    // ---- names (namespace.cpp) --------------------------------------------------------------------------------

    int make_collection(Session& session, const std::string& path, bool parents);
    void unlink_without_policy(Session& session, const std::string& path, bool force, bool unregister, bool admin);
    int rename(Session& session, const std::string& from, const std::string& to);
    int unlink(Session& session, const std::string& path, bool force, bool unregister, bool admin);
    int remove_collection(Session& session, const std::string& path, bool recursive, bool force, bool unregister);
    // irmtrash: empties the user's trash in one call; with `admin` that of another, or of all if none is named.
    int empty_trash(Session& session, const std::string& user, bool admin);
    int change_access(Session& session, const std::string& level, const std::string& user, const std::string& path,
                      bool recursive, bool admin);

    void make_collection_without_policy(Session& session, const std::string& path, bool parents);
    // The code it ended with, which is that of the last thing that could not be removed.
    int remove_collection_without_policy(Session& session, const std::string& path, bool recursive, bool force, bool unregister);
    void rename_without_policy(Session& session, const std::string& from, const std::string& to);
    void change_access_without_policy(Session& session, const std::string& level, const std::string& user,
                                      const std::string& path, bool recursive, bool admin);

    // ---- metadata and rules (rules.cpp) -----------------------------------------------------------------------

    // The words of imeta after the program's name: add -d /path a v u, ...
    int modify_metadata_call(Session& session, const std::vector<std::string>& words, bool admin);
    // The same from within the server, as a microservice does it: no API enforcement point, but the static ones.
    int modify_metadata_in_server(Session& session, const std::vector<std::string>& words, bool admin);
    // _rsModAVUMetadata: the operation between its static enforcement points.
    void modify_metadata_with_static_policy(Session& session, const ModifyAVUMetadataInput& input);
    int apply_metadata_call(Session& session, const std::string& json, std::string& output);
    // irule: the text goes to one instance, or to all if that is empty. The ruleExecOut text goes to the output.
    int execute_rule_text(Session& session, const std::string& instance, const std::string& text);
    // irule with a delay() in the rule language, whose engine takes the text; `output` gets the id.
    int execute_delay(Session& session, const std::string& conditions, const std::string& text, std::string& output);
    int delete_rule(Session& session, std::int64_t id);
    void delete_rule_without_policy(Session& session, std::int64_t id);
    // A rule with strings in and out, as the native rule language calls one.
    int call_rule(Session& session, const std::string& rule, std::vector<std::string>& arguments);

    // Queues a rule for later, with this client in its context. Throws Failure.
    std::int64_t queue_rule(Session& session, const userInfo_t& user, const std::string& text, const std::string& conditions);
    // The same for an input filled in by the caller; on a consumer the provider does it. `user` is the client of the
    // rule's context, and becomes the client of the session that writes the row: this one, or the provider's.
    std::int64_t forward_or_submit_rule(Session& session, const userInfo_t& user, const std::string& instance, ruleExecSubmitInp_t& input);
    // What the above sent.
    std::int64_t submit_forwarded_rule(Session& session, const std::string& request);

    // ---- shared by the above ----------------------------------------------------------------------------------

    // Registers one replica of a new data object, or a collection, between the database PEPs, and touches the
    // parent.
    Replica register_new_data(Session& session, const std::string& path, const Resource& resource,
                              const std::string& physical, std::int64_t size, int status, const std::string& type,
                              bool touch_parent);
    Replica register_new_replica(Session& session, const Replica& source, const Resource& resource,
                                 const std::string& physical, std::int64_t size, int status);
    void register_new_collection(Session& session, const std::string& path, const User& owner);
    void touch_collection(Session& session, const std::string& path);
    // The PEPs of a database operation a consumer has done itself; without the operation.
    int database_pep(Session& session, const std::string& name, const std::string& path);
    void unregister_replica(Session& session, const Replica& replica);
    void modify_replica(Session& session, const Replica& replica, const std::function<void()>& change);

    // Where a resource keeps a data object, by its path.
    std::string vault_path(const Resource& leaf, const std::string& logical_path);
    // Where a new replica goes: there, unless a file is in the way. One the catalog does not know is moved to the vault's
    // `orphan`; beside another data object's, the name ends in the replica's number. Where the site has chosen msiSetRandomScheme
    // (`vault-scheme random`), the path has the user, two random numbers, the name and a time, whatever the collection.
    std::string free_vault_path(Session& session, const Resource& leaf, const std::string& logical_path, int replica);
    bool vault_is_scattered(Session& session);
    // False, and nothing is done, if the file is a replica's.
    bool move_orphan(Session& session, const Resource& leaf, const std::string& physical_path);
    bool is_in_vault(const Resource& leaf, const std::string& physical_path);

    // The leaf a new replica goes to; the default resource if no name is given. Failure DIRECT_CHILD_ACCESS for a
    // resource that is not a root.
    Resource target_leaf(Session& session, const std::string& resource);
    // The other leaves of a replication resource, which get a copy of what was written to `leaf`.
    void replicate_to_siblings(Session& session, std::int64_t data_id, const Resource& leaf);

    // Failures for paths that are too long, not absolute or in another zone.
    void require_valid_path(Session& session, const std::string& path);
    // The session may make something in this collection.
    void require_may_create_in(Session& session, const std::string& collection);
    // No replica is being written.
    void require_unlocked(const std::vector<Replica>& replicas, const std::string& path);

    // A static policy enforcement point, e.g. acPostProcForPut: asked for by name, run where it exists.
    void static_policy(Session& session, const char* name, const std::vector<std::string>& words = {});

    // AVUs that the next operations carry in their conditions (METADATA_INCLUDED_KW); empty for none.
    std::string& metadata_along();
    // Adds AVUs given as `attribute;value;units...` to a data object, as the server does when it closes one.
    void add_metadata_along(Session& session, std::int64_t data_id, const std::string& text);
} // namespace zone

#endif // ZONE_OPERATIONS_HPP
