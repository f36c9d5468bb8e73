// SPDX-License-Identifier: BSD-3-Clause
// What iadmin does to a zone that has data: users, resources and replicas changed under them. Each function is one API
// call with its enforcement points, as in operations.hpp, and gives the code the client gets.
#ifndef ZONE_ADMINISTRATION_HPP
#define ZONE_ADMINISTRATION_HPP

#include "session.hpp"

#include <string>

namespace zone
{
    // iadmin rmuser. The collections below home and trash/home go first, and must be empty; `leave_collections` is a site
    // whose acDeleteUser does not delete them.
    int remove_user(Session& session, const std::string& name, bool leave_collections);

    // iadmin modresc NAME path|rebalance|... A new path is that of files yet to come: nothing is moved, and the paths of
    // the replicas there are stay as they are.
    int modify_resource(Session& session, const std::string& name, const std::string& option, const std::string& value);
    // iadmin modrescdatapaths: replaces text in the paths of a resource's replicas, in the catalog alone.
    int modify_data_paths(Session& session, const std::string& name, const std::string& from, const std::string& to);

    struct ReplicaChange
    {
        std::string path;
        std::string keyword; // as the API has it: dataModify, dataComments, filePath, ...
        std::string value;
        int replica = 0;
        bool all_replicas = false;
        bool admin = false;
    };
    // The API data_object_modify_info, which every user may call, with the keywords it takes. 5.0.2 lends the client the
    // right of an administrator for it, so that with `admin` anybody changes any data object.
    int modify_data_info(Session& session, const ReplicaChange& change);
    // iadmin modrepl: the same by way of mod_data_obj_meta, for administrators and all keywords.
    int repair_replica(Session& session, const ReplicaChange& change);

    // A site's own policy in the rule language, after the plugins: AVU changes are for users of type rodsadmin, by
    // acPreProcForModifyAVUMetadata. What counts is the client's name: a plugin's calls in the client's session are
    // refused too, whatever right they borrowed.
    void set_metadata_policy(const std::string& directory, bool administrators_only);
    // 0, or the code the policy answers. It tells the client why.
    int metadata_policy(Session& session);
} // namespace zone

#endif // ZONE_ADMINISTRATION_HPP
