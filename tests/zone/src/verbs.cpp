// SPDX-License-Identifier: BSD-3-Clause

#include "verbs.hpp"

#include "administration.hpp"
#include "genquery2.hpp"
#include "metadata.hpp"
#include "operations.hpp"
#include "remote.hpp"
#include "support.hpp"

#include "irods/genquery2.h"
#include "irods/objStat.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <set>

namespace zone
{
    namespace
    {
        // The words of a verb: options before the first word that is none, then the rest.
        class Words
        {
          public:
            // `flags` stand alone, `valued` take the next word.
            Words(const std::vector<std::string>& words, const std::set<std::string>& flags, const std::set<std::string>& valued)
            {
                std::size_t at = 1;
                for (; at < words.size(); ++at) {
                    if (words[at] == "--") {
                        ++at;
                        break;
                    }
                    if (flags.count(words[at]) != 0) {
                        options_[words[at]] = "";
                    }
                    else if (valued.count(words[at]) != 0 && at + 1 < words.size()) {
                        options_[words[at]] = words[at + 1];
                        ++at;
                    }
                    else {
                        break;
                    }
                }
                rest_.assign(words.begin() + static_cast<std::ptrdiff_t>(at), words.end());
                verb_ = words[0];
            }

            bool has(const std::string& option) const { return options_.count(option) != 0; }
            std::string value(const std::string& option) const
            {
                const auto found = options_.find(option);
                return found == options_.end() ? "" : found->second;
            }
            const std::string& at(std::size_t index) const
            {
                if (index >= rest_.size()) {
                    throw UsageError{"[" + verb_ + "] needs more words"};
                }
                return rest_[index];
            }
            int number(std::size_t index) const
            {
                char* end = nullptr;
                const long value = std::strtol(at(index).c_str(), &end, 10);
                if (at(index).empty() || *end != '\0') {
                    throw UsageError{"[" + at(index) + "] is no number"};
                }
                return static_cast<int>(value);
            }
            std::size_t count() const { return rest_.size(); }
            const std::vector<std::string>& rest() const { return rest_; }

          private:
            std::string verb_;
            std::map<std::string, std::string> options_;
            std::vector<std::string> rest_;
        };

        using Verb = std::function<int(Session&, const std::vector<std::string>&, std::string&)>;

        // What client programs do first: ask what is there.
        objType_t stat_path(Session& session, const std::string& path)
        {
            DataObjInput input{path};
            rodsObjStat* stat = nullptr;
            objType_t type = UNKNOWN_OBJ_T;
            api(
                session, "obj_stat",
                [&] {
                    if (session.catalog().find_collection(path)) {
                        type = COLL_OBJ_T;
                    }
                    else if (session.catalog().find_data(path)) {
                        type = DATA_OBJ_T;
                    }
                    else {
                        throw Failure{USER_FILE_DOES_NOT_EXIST, "no such path"};
                    }
                    return static_cast<int>(type);
                },
                input.get(), &stat);
            session.take_messages();
            session.last_failure.clear();
            return type;
        }

        // ---- transfer ----------------------------------------------------------------------------------------

        std::string base_name(std::string path)
        {
            while (path.size() > 1 && path.back() == '/') {
                path.pop_back();
            }
            return name_of(path);
        }

        int put_tree(Session& session, const std::string& local, const std::string& path, const PutOptions& options)
        {
            int result = make_collection(session, path, false);
            if (result < 0 && !(result == CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)) {
                return result;
            }
            result = 0;
            const auto entries = list_directory(local);
            for (const bool directories : {true, false}) {
                for (const auto& entry : entries) {
                    if (entry.is_directory != directories) {
                        continue;
                    }
                    const int code = directories ? put_tree(session, join(local, entry.name), join(path, entry.name), options)
                                                 : put(session, join(local, entry.name), join(path, entry.name), options);
                    result = code < 0 ? code : result;
                }
            }
            return result;
        }

        void collect_tree(Session& session, const std::string& local, const std::string& path, std::vector<BulkFile>& files)
        {
            make_collection(session, path, false);
            const auto entries = list_directory(local);
            for (const bool directories : {true, false}) {
                for (const auto& entry : entries) {
                    if (entry.is_directory == directories) {
                        if (directories) {
                            collect_tree(session, join(local, entry.name), join(path, entry.name), files);
                        }
                        else {
                            files.push_back({join(local, entry.name), join(path, entry.name)});
                        }
                    }
                }
            }
        }

        int put_bulk(Session& session, const std::string& local, const std::string& path)
        {
            constexpr std::size_t most = 50;
            std::vector<BulkFile> files;
            collect_tree(session, local, path, files);
            make_collection(session, path, false); // once more; the client does not mind that it exists
            int result = 0;
            for (std::size_t at = 0; at < files.size(); at += most) {
                const std::vector<BulkFile> part(files.begin() + static_cast<std::ptrdiff_t>(at),
                                                 files.begin() + static_cast<std::ptrdiff_t>(std::min(at + most, files.size())));
                const int code = bulk_put(session, path, part);
                result = code < 0 ? code : result;
            }
            return result;
        }

        int verb_put(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-f", "-r", "-b", "--parallel"}, {"-R", "-t", "--limit", "--metadata"}};
            PutOptions options;
            options.force = w.has("-f");
            options.parallel = w.has("--parallel");
            options.resource = w.value("-R");
            options.type = w.value("-t");
            options.metadata = w.value("--metadata");
            if (w.has("--limit")) {
                options.single_buffer_limit = std::atoll(w.value("--limit").c_str());
            }
            const std::string& local = w.at(0);
            std::string path = w.at(1);
            if (stat_path(session, path) == COLL_OBJ_T) {
                path = join(path, base_name(local));
            }
            if (!w.has("-r")) {
                return put(session, local, path, options);
            }
            return w.has("-b") ? put_bulk(session, local, path) : put_tree(session, local, path, options);
        }

        int verb_get(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-f"}, {}};
            return get(session, w.at(0), w.at(1));
        }

        // data_objects.put of the Python client: a stream, or several for a large file.
        int verb_stream_put(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"--parallel"}, {"-R"}};
            const std::string bytes = read_file(w.at(0));
            const int flags = O_RDWR | O_CREAT | O_TRUNC;
            const int fd = open_data(session, w.at(1), flags, w.value("-R"));
            if (fd < 0) {
                return fd;
            }
            seek_data(session, fd, 0, SEEK_END);
            if (!w.has("--parallel")) {
                const int code = write_data(session, fd, bytes);
                seek_data(session, fd, 0, SEEK_CUR);
                const int closed = close_data(session, fd);
                return code < 0 ? code : closed;
            }
            std::string info;
            get_descriptor_info(session, fd, info);
            seek_data(session, fd, 0, SEEK_SET);
            const int second = open_further_stream(session, fd);
            if (second < 0) {
                return second;
            }
            const std::size_t half = bytes.size() / 2;
            seek_data(session, fd, 0, SEEK_SET);
            write_data(session, fd, bytes.substr(0, half));
            seek_data(session, second, static_cast<std::int64_t>(half), SEEK_SET);
            write_data(session, second, bytes.substr(half));
            seek_data(session, second, 0, SEEK_CUR);
            ReplicaClose quietly;
            quietly.update_size = false;
            quietly.update_status = false;
            quietly.send_notifications = false;
            close_replica(session, second, quietly);
            seek_data(session, fd, 0, SEEK_CUR);
            return close_data(session, fd);
        }

        int verb_istream(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {"-R"}};
            const auto open = open_replica(session, w.at(1), O_WRONLY | O_CREAT | O_TRUNC, w.value("-R"), "");
            if (open.descriptor < 0) {
                return open.descriptor;
            }
            seek_data(session, open.descriptor, 0, SEEK_SET);
            write_data(session, open.descriptor, read_file(w.at(0)));
            return close_replica(session, open.descriptor, {});
        }

        int copy_tree(Session& session, const std::string& from, const std::string& to, bool force, const std::string& resource)
        {
            int result = make_collection(session, to, false);
            if (result < 0 && result != CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME) {
                return result;
            }
            result = 0;
            for (const auto& child : session.catalog().child_collections(from)) {
                const int code = copy_tree(session, child.path, join(to, name_of(child.path)), force, resource);
                result = code < 0 ? code : result;
            }
            for (const auto& replica : session.catalog().data_in(from)) {
                const int code = copy(session, replica.path, join(to, name_of(replica.path)), force, resource);
                result = code < 0 ? code : result;
            }
            return result;
        }

        int verb_cp(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-f", "-F", "-r"}, {"-R"}};
            std::string to = w.at(1);
            // A path of its own after both names: the forwarded form, which is exact.
            const bool forwarded = w.count() > 2;
            if (!forwarded && stat_path(session, to) == COLL_OBJ_T) {
                to = join(to, name_of(w.at(0)));
            }
            const bool force = w.has("-f") || (forwarded && w.at(2) == "-f");
            return w.has("-r") ? copy_tree(session, w.at(0), to, force, w.value("-R"))
                               : copy(session, w.at(0), to, force, w.value("-R"));
        }

        int verb_rsync(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return synchronise(session, w.at(0), w.at(1));
        }

        int verb_reg(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-r", "--repl", "-f"}, {"-R", "-t"}};
            RegisterOptions options;
            options.recursive = w.has("-r");
            options.replica = w.has("--repl");
            options.force = w.has("-f");
            options.resource = w.value("-R");
            options.type = w.value("-t");
            return register_path(session, w.at(0), w.at(1), options);
        }

        int verb_bun(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-x", "-f"}, {}};
            if (!w.has("-x")) {
                throw UsageError{"bun: only -x"};
            }
            return extract(session, w.at(0), w.at(1), w.has("-f"));
        }

        // ---- streams -----------------------------------------------------------------------------------------

        int open_flags(const Words& w)
        {
            int flags = O_RDONLY;
            flags = w.has("-w") ? O_WRONLY : flags;
            flags = w.has("-rw") ? O_RDWR : flags;
            flags |= w.has("-c") ? O_CREAT : 0;
            flags |= w.has("-t") ? O_TRUNC : 0;
            return flags;
        }

        int verb_open(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {"-r", "-w", "-rw", "-c", "-t"}, {"-R"}};
            const int fd = open_data(session, w.at(0), open_flags(w), w.value("-R"));
            output = fd >= 0 ? std::to_string(fd) + "\n" : "";
            return fd;
        }

        int verb_replica_open(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {"-r", "-w", "-rw", "-c", "-t"}, {"-R", "--token"}};
            const auto open = open_replica(session, w.at(0), open_flags(w), w.value("-R"), w.value("--token"));
            if (open.descriptor >= 0) {
                output = Json::object({{"fd", open.descriptor}, {"token", open.token}}).dump() + "\n";
            }
            return open.descriptor;
        }

        int verb_create(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-f"}, {"-R"}};
            const int fd = create_data(session, w.at(0), w.has("-f"), w.value("-R"));
            return fd < 0 ? fd : close_data(session, fd);
        }

        int verb_write(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return write_data(session, w.number(0), w.at(1));
        }

        int verb_write_file(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return write_data(session, w.number(0), read_file(w.at(1)));
        }

        int verb_read(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            return read_data(session, w.number(0), w.number(1), output);
        }

        int verb_lseek(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            const std::string whence = w.count() > 2 ? w.at(2) : "set";
            return seek_data(session, w.number(0), w.number(1), whence == "end" ? SEEK_END : whence == "cur" ? SEEK_CUR : SEEK_SET);
        }

        int verb_close(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return close_data(session, w.number(0));
        }

        int verb_replica_close(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"--no-size", "--no-status", "--no-notify"}, {}};
            ReplicaClose options;
            options.update_size = !w.has("--no-size");
            options.update_status = !w.has("--no-status");
            options.send_notifications = !w.has("--no-notify");
            return close_replica(session, w.number(0), options);
        }

        int verb_fd_info(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            return get_descriptor_info(session, w.number(0), output);
        }

        // The connection ends without a word. With --agent the server's process dies too.
        int verb_die(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"--agent"}, {}};
            if (w.has("--agent")) {
                session.write_statistics();
                ::kill(::getpid(), SIGKILL);
            }
            abandon_descriptors(session);
            session.server().plugins.stop();
            session.write_statistics();
            ::_exit(0);
        }

        // ---- names -------------------------------------------------------------------------------------------

        int verb_mkdir(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-p", "-P"}, {}};
            return make_collection(session, w.at(0), w.has("-p"));
        }

        int verb_rename(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return rename(session, w.at(0), w.at(1));
        }

        int verb_mv(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            std::string to = w.at(1);
            if (stat_path(session, to) == COLL_OBJ_T) {
                to = join(to, name_of(w.at(0)));
            }
            return rename(session, w.at(0), to);
        }

        int verb_rm(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-f", "-F", "-r", "-R", "-M"}, {}};
            const bool collection = w.has("-r") || w.has("-R");
            return collection ? remove_collection(session, w.at(0), w.has("-r"), w.has("-f"), false)
                              : unlink(session, w.at(0), w.has("-f"), false, w.has("-M"));
        }

        int verb_unreg(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-f", "-F", "-r", "-R", "-M"}, {}};
            return w.has("-r") ? remove_collection(session, w.at(0), true, true, true)
                               : unlink(session, w.at(0), true, true, w.has("-M"));
        }

        // Empties the trash of the user, for good, in one call.
        int verb_rmtrash(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-M"}, {"-u"}};
            return empty_trash(session, w.has("-M") ? w.value("-u") : session.actor().name, w.has("-M"));
        }

        // The same as it is forwarded.
        int verb_empty_trash(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-M", "-N"}, {}};
            return empty_trash(session, w.at(0), w.has("-M"));
        }

        int verb_touch(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-c"}, {"-s"}};
            return touch(session, w.at(0), w.has("-c"), w.value("-s"));
        }

        int verb_chmod(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-r", "-R", "-M", "-N"}, {}};
            const bool inheritance = w.at(0) == "inherit" || w.at(0) == "noinherit";
            // The forwarded form has an empty user.
            return inheritance ? change_access(session, w.at(0), "", w.at(w.count() - 1), w.has("-r"), w.has("-M"))
                               : change_access(session, w.at(0), w.at(1), w.at(2), w.has("-r"), w.has("-M"));
        }

        // ---- replicas ----------------------------------------------------------------------------------------

        int verb_repl(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-U", "-M"}, {"-R"}};
            return replicate(session, w.at(0), w.value("-R"), w.has("-U"), w.has("-M"));
        }

        int verb_phymv(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-M"}, {"-S", "-R"}};
            std::string from = w.value("-S");
            if (from.empty()) {
                // The command wants a source; with one replica there is but one.
                const auto id = session.catalog().find_data(w.at(0));
                const auto replicas = id ? session.catalog().replicas(*id) : std::vector<Replica>{};
                from = replicas.empty() ? "" : replicas.front().hierarchy.substr(0, replicas.front().hierarchy.find(';'));
            }
            return move_replica(session, w.at(0), from, w.value("-R"), w.has("-M"));
        }

        int verb_trim(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-M"}, {"-n", "-N", "-S"}};
            TrimOptions options;
            options.replica = w.value("-n");
            options.resource = w.value("-S");
            options.keep = w.has("-N") ? std::atoi(w.value("-N").c_str()) : 1;
            options.admin = w.has("-M");
            return trim(session, w.at(0), options);
        }

        int verb_truncate(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-M"}, {"-n"}};
            return truncate(session, w.at(0), w.number(1), w.value("-n"), w.has("-M"));
        }

        int verb_tier(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return tier(session, w.at(0), w.at(1), w.at(2));
        }

        int verb_chksum(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            const int code = checksum(session, w.at(0), output);
            output += "\n";
            return code;
        }

        // ---- looking -----------------------------------------------------------------------------------------

        bool may_see(Session& session, std::int64_t id)
        {
            return session.privileged() || session.catalog().access(id, session.actor()) >= access::read;
        }

        Json permissions_json(Session& session, std::int64_t id)
        {
            Json list = Json::array();
            for (const auto& permission : session.catalog().permissions(id)) {
                list.push(Json{permission.user + "#" + permission.zone + ":" + access::name_of(permission.level)});
            }
            return list;
        }

        Json data_json(Session& session, std::int64_t id, const std::string& path)
        {
            Json replicas = Json::array();
            for (const auto& replica : session.catalog().replicas(id)) {
                replicas.push(Json::object({{"number", replica.number},
                                            {"status", replica.status},
                                            {"size", replica.size},
                                            {"hierarchy", replica.hierarchy},
                                            {"physical_path", to_json_bytes(replica.physical_path)},
                                            {"modified", replica.modified},
                                            {"checksum", replica.checksum}}));
            }
            return Json::object({{"type", "data_object"},
                                 {"path", to_json_bytes(path)},
                                 {"id", id},
                                 {"replicas", replicas},
                                 {"acl", permissions_json(session, id)}});
        }

        Json collection_json(Session& session, const Collection& collection)
        {
            return Json::object({{"type", "collection"},
                                 {"path", to_json_bytes(collection.path)},
                                 {"id", collection.id},
                                 {"inheritance", collection.inherits},
                                 {"acl", permissions_json(session, collection.id)}});
        }

        void list_into(Session& session, const std::string& path, bool recursive, Json& entries)
        {
            for (const auto& replica : session.catalog().data_in(path)) {
                if (may_see(session, replica.data_id)) {
                    entries.push(data_json(session, replica.data_id, replica.path));
                }
            }
            for (const auto& child : session.catalog().child_collections(path)) {
                if (may_see(session, child.id)) {
                    entries.push(collection_json(session, child));
                    if (recursive) {
                        list_into(session, child.path, true, entries);
                    }
                }
            }
        }

        std::string listing_text(const Json& entry, bool acl, bool replicas)
        {
            const bool data = entry.find("type")->as_string() == "data_object";
            const std::string path = bytes_of(*entry.find("path"));
            std::string text = data ? "  " + name_of(path) + "\n" : "  C- " + path + "\n";
            if (data && replicas) {
                for (const auto& replica : entry.find("replicas")->elements()) {
                    text += "    " + std::to_string(replica.find("number")->as_integer()) + " " + replica.find("hierarchy")->as_string() +
                            " " + std::to_string(replica.find("size")->as_integer()) + " " +
                            (replica.find("status")->as_integer() == 1 ? "&" : std::to_string(replica.find("status")->as_integer())) + " " +
                            bytes_of(*replica.find("physical_path")) + "\n";
                }
            }
            if (acl) {
                text += "        ACL - ";
                for (const auto& permission : entry.find("acl")->elements()) {
                    text += permission.as_string() + "  ";
                }
                text += "\n";
            }
            return text;
        }

        int verb_ls(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {"-A", "-L", "-r", "--json"}, {}};
            const std::string& path = w.at(0);
            const auto type = stat_path(session, path);
            Json entries = Json::array();
            if (type == COLL_OBJ_T) {
                const auto collection = session.catalog().collection(path);
                if (!may_see(session, collection.id)) {
                    throw Failure{CAT_NO_ACCESS_PERMISSION, "you may not see [" + path + "]"};
                }
                output = path + ":\n";
                if (w.has("-A")) {
                    output += "        Inheritance - " + std::string{collection.inherits ? "Enabled" : "Disabled"} + "\n";
                }
                list_into(session, path, w.has("-r"), entries);
            }
            else if (type == DATA_OBJ_T && may_see(session, *session.catalog().find_data(path))) {
                entries.push(data_json(session, *session.catalog().find_data(path), path));
            }
            else {
                throw Failure{USER_FILE_DOES_NOT_EXIST, "no such path [" + path + "]"};
            }
            if (w.has("--json")) {
                output = entries.dump() + "\n";
                return 0;
            }
            for (const auto& entry : entries.elements()) {
                output += listing_text(entry, w.has("-A"), w.has("-L"));
            }
            return 0;
        }

        int verb_query(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            std::string text = w.at(0);
            Genquery2Input input{&text[0], nullptr, 0, 0};
            char* out = nullptr;
            const int code = api(
                session, "genquery2",
                [&]() -> int {
                    if (session.remote() != nullptr) {
                        auto answer = session.remote()->call({"genquery2", text});
                        output = answer.output;
                        return answer.code;
                    }
                    const auto rows = genquery2(session.catalog(), text, session.actor());
                    if (!rows.is_utf8()) {
                        throw Failure{SYS_LIBRARY_ERROR, "invalid UTF-8 byte in a result"};
                    }
                    output = rows.dump();
                    return 0;
                },
                &input, &out);
            return code;
        }

        int verb_iquery(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const int code = verb_query(session, words, output);
            output += code >= 0 ? "\n" : "";
            return code;
        }

        // ---- metadata and rules ------------------------------------------------------------------------------

        int list_metadata(Session& session, const Words& w, std::string& output)
        {
            // imeta ls [--json] -d path [attribute]
            std::vector<std::string> words(w.rest().begin() + 1, w.rest().end());
            const bool json = !words.empty() && words[0] == "--json";
            if (json) {
                words.erase(words.begin());
            }
            if (words.size() < 2) {
                throw UsageError{"meta ls needs a type and a name"};
            }
            const auto id = find_entity(session, words[0], words[1]);
            const bool owned = words[0] == "-d" || words[0] == "-C";
            if (owned && !may_see(session, id)) {
                throw Failure{CAT_NO_ACCESS_PERMISSION, "you may not see [" + words[1] + "]"};
            }
            Json list = Json::array();
            const char* separator = "";
            for (const auto& avu : metadata_of(session.catalog(), id)) {
                if (words.size() > 2 && avu.attribute != words[2]) {
                    continue;
                }
                list.push(Json::array({to_json_bytes(avu.attribute), to_json_bytes(avu.value), to_json_bytes(avu.units)}));
                output += separator + std::string{"attribute: "} + avu.attribute + "\nvalue: " + avu.value + "\nunits: " + avu.units + "\n";
                separator = "----\n";
            }
            if (json) {
                output = list.dump() + "\n";
            }
            else if (output.empty()) {
                output = "None\n";
            }
            return 0;
        }

        int verb_meta(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {"-M"}, {}};
            if (w.at(0) == "ls") {
                return list_metadata(session, w, output);
            }
            return modify_metadata_call(session, w.rest(), w.has("-M"));
        }

        int verb_atomic(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            return apply_metadata_call(session, w.at(0), output);
        }

        int run_within(Session& session, const std::vector<std::string>& words, std::string& output);

        // An operation whose conditions carry AVUs. The server sets them when it closes the data object; here they are
        // set on the last path named, once the operation is over.
        int verb_along(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            struct Along
            {
                explicit Along(const std::string& metadata) { metadata_along() = metadata; }
                ~Along() { metadata_along().clear(); }
            };
            int code = 0;
            {
                const Along along{w.at(0)};
                code = run_within(session, {w.rest().begin() + 1, w.rest().end()}, output);
            }
            for (auto path = w.rest().rbegin(); code >= 0 && path != w.rest().rend(); ++path) {
                if (const auto data_id = session.catalog().find_data(*path)) {
                    add_metadata_along(session, *data_id, w.at(0));
                    break;
                }
            }
            return code;
        }

        // What a user's rule text may call: msiModAVUMetadata and its kin, msi_atomic_apply_metadata_operations,
        // msiDataObjCopy or msiDataObjRename. No API enforcement point hears them.
        int verb_microservice(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            if (w.at(0) == "atomic") {
                return apply_metadata_operations(session, w.at(1), output);
            }
            if (w.at(0) == "copy") {
                copy_without_policy(session, w.at(1), w.at(2), false, "");
                return 0;
            }
            if (w.at(0) == "move") {
                rename_without_policy(session, w.at(1), w.at(2));
                return 0;
            }
            return modify_metadata_in_server(session, {w.rest().begin() + 1, w.rest().end()}, false);
        }

        int verb_rule(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {"-r", "-F"}};
            const std::string text =
                w.has("-F") ? "@external\n" + read_file(w.value("-F")) : "@external rule { " + w.at(0) + " }";
            const int code = execute_rule_text(session, w.value("-r"), text);
            output = session.output;
            session.output.clear();
            return code;
        }

        int verb_call_rule(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            std::vector<std::string> arguments(w.rest().begin() + 1, w.rest().end());
            const int code = call_rule(session, w.at(0), arguments);
            Json list = Json::array();
            for (const auto& argument : arguments) {
                list.push(to_json_bytes(argument));
            }
            output = list.dump() + "\n";
            return code;
        }

        int verb_qstat(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {"--json", "-a"}, {}};
            Json list = Json::array();
            for (const auto& rule : session.catalog().rules()) {
                output += std::to_string(rule.id) + " " + rule.text + "\n";
                list.push(Json::object({{"id", rule.id},
                                        {"text", to_json_bytes(rule.text)},
                                        {"user", rule.user},
                                        {"zone", rule.user_zone},
                                        {"listed_user", rule.listed_user},
                                        {"due", rule.due},
                                        {"frequency", rule.frequency},
                                        {"priority", rule.priority},
                                        {"instance", rule.instance},
                                        {"last_run", rule.last_run},
                                        {"lock_host", rule.lock_host},
                                        {"lock_pid", rule.lock_pid},
                                        {"lock_time", rule.lock_time}}));
            }
            if (w.has("--json")) {
                output = list.dump() + "\n";
            }
            else if (output.empty()) {
                output = "No delayed rules pending for user " + session.actor().name + "\n";
            }
            return 0;
        }

        int verb_qdel(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"-a"}, {}};
            if (!w.has("-a")) {
                return delete_rule(session, w.number(0));
            }
            int result = 0;
            for (const auto& rule : session.catalog().rules()) {
                if (rule.listed_user == session.actor().name) {
                    const int code = delete_rule(session, rule.id);
                    result = code < 0 ? code : result;
                }
            }
            return result;
        }

        // Puts a rule into the queue by irule and the rule language's delay(): text and conditions of the user's choice.
        int verb_delay(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            return execute_delay(session, w.at(0), w.at(1), output);
        }

        // ---- administration ----------------------------------------------------------------------------------

        int verb_rmuser(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {"--leave-collections"}, {}};
            return remove_user(session, w.at(0), w.has("--leave-collections"));
        }

        int verb_modresc(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return modify_resource(session, w.at(0), w.at(1), w.count() > 2 ? w.at(2) : "");
        }

        int verb_modrescdatapaths(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return modify_data_paths(session, w.at(0), w.at(1), w.at(2));
        }

        ReplicaChange replica_change(const Words& w)
        {
            ReplicaChange change;
            change.path = w.at(0);
            change.keyword = w.at(1);
            change.value = w.at(2);
            change.replica = std::atoi(w.value("-n").c_str());
            change.all_replicas = w.has("-a");
            change.admin = w.has("-M");
            return change;
        }

        int verb_modify_info(Session& session, const std::vector<std::string>& words, std::string&)
        {
            return modify_data_info(session, replica_change(Words{words, {"-a", "-M"}, {"-n"}}));
        }

        int verb_modrepl(Session& session, const std::vector<std::string>& words, std::string&)
        {
            return repair_replica(session, replica_change(Words{words, {"-a"}, {"-n"}}));
        }

        int verb_submit_rule(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            const Words w{words, {}, {}};
            output = std::to_string(submit_forwarded_rule(session, w.at(0)));
            return 0;
        }

        int verb_database_pep(Session& session, const std::vector<std::string>& words, std::string&)
        {
            const Words w{words, {}, {}};
            return database_pep(session, w.at(0), w.at(1));
        }

        struct Entry
        {
            const char* name;
            const char* words;
            Verb run;
        };

        const std::vector<Entry>& verbs()
        {
            static const std::vector<Entry> all{
                {"put", "[-f] [-r [-b]] [-R RESC] [-t TYPE] [--parallel] [--metadata 'a;v;u'] LOCAL PATH", verb_put},
                {"get", "PATH LOCAL", verb_get},
                {"stream-put", "[--parallel] [-R RESC] LOCAL PATH       as the Python client puts", verb_stream_put},
                {"istream", "[-R RESC] LOCAL PATH", verb_istream},
                {"create", "[-f] [-R RESC] PATH", verb_create},
                {"open", "[-r|-w|-rw] [-c] [-t] [-R RESC] PATH          prints the descriptor", verb_open},
                {"replica-open", "[-r|-w|-rw] [-c] [-t] [-R RESC] [--token T] PATH", verb_replica_open},
                {"write", "FD TEXT", verb_write},
                {"write-file", "FD LOCAL", verb_write_file},
                {"read", "FD LENGTH", verb_read},
                {"lseek", "FD OFFSET [set|cur|end]", verb_lseek},
                {"close", "FD", verb_close},
                {"replica-close", "[--no-size] [--no-status] [--no-notify] FD", verb_replica_close},
                {"fd-info", "FD", verb_fd_info},
                {"die", "[--agent]                                     the client, or also its agent, is gone", verb_die},
                {"reg", "[-r] [--repl] [-R RESC] [-t TYPE] LOCAL PATH", verb_reg},
                {"bun", "-x [-f] TAR COLLECTION", verb_bun},
                {"cp", "[-f] [-r] [-R RESC] PATH PATH", verb_cp},
                {"rsync", "PATH PATH                                  from one data object to another", verb_rsync},
                {"mv", "PATH PATH", verb_mv},
                {"rename", "PATH PATH                                 the target as it is written", verb_rename},
                {"mkdir", "[-p] PATH", verb_mkdir},
                {"rm", "[-f] [-r] [-M] PATH", verb_rm},
                {"unreg", "[-r] PATH", verb_unreg},
                {"rmtrash", "[-M [-u USER]]                         the own trash; with -M that of USER, or all", verb_rmtrash},
                {"empty-trash", "-M|-N USER                             the same, as forwarded from a consumer", verb_empty_trash},
                {"touch", "[-c] [-s SECONDS] PATH", verb_touch},
                {"chmod", "[-r] [-M] LEVEL USER PATH | inherit|noinherit PATH", verb_chmod},
                {"repl", "[-U] [-M] [-R RESC] PATH", verb_repl},
                {"phymv", "[-M] [-S RESC] -R RESC PATH", verb_phymv},
                {"trim", "[-M] [-n REPLICA | -S RESC] [-N COPIES] PATH   keeps one copy unless told", verb_trim},
                {"truncate", "[-M] [-n REPLICA] PATH SIZE", verb_truncate},
                {"tier", "PATH RESC RESC                         replicates to the second, then trims the first, as rods", verb_tier},
                {"chksum", "PATH", verb_chksum},
                {"ls", "[-A] [-L] [-r] [--json] PATH", verb_ls},
                {"query", "GENQUERY2", verb_iquery},
                {"genquery2", "GENQUERY2                              the same, as forwarded from a consumer", verb_query},
                {"meta", "[-M] add|set|rm|rmi|mod|cp|ls [--json] -d|-C|-u|-R NAME [A [V [U]]]", verb_meta},
                {"atomic", "JSON", verb_atomic},
                {"along", "'a;v;u' VERB [WORD...]                   the verb's conditions carry AVUs", verb_along},
                {"microservice", "meta OPERATION... | atomic JSON | copy PATH PATH | move PATH PATH     within the server", verb_microservice},
                {"rule", "[-r INSTANCE] TEXT | -F FILE", verb_rule},
                {"call-rule", "NAME [ARGUMENT...]                     prints the arguments afterwards", verb_call_rule},
                {"delay", "CONDITIONS TEXT", verb_delay},
                {"qstat", "[--json]", verb_qstat},
                {"qdel", "ID | -a", verb_qdel},
                {"modify-info", "[-a | -n REPLICA] [-M] PATH KEYWORD VALUE   data_object_modify_info", verb_modify_info},
                {"modrepl", "[-a | -n REPLICA] PATH KEYWORD VALUE      any keyword, for administrators", verb_modrepl},
                {"rmuser", "[--leave-collections] NAME", verb_rmuser},
                {"modresc", "NAME path PATH | NAME status STATUS | NAME rebalance", verb_modresc},
                {"modrescdatapaths", "NAME OLD NEW", verb_modrescdatapaths},
                {"submit-rule", "JSON                                   what a consumer asks the provider to queue", verb_submit_rule},
                {"database-pep", "NAME PATH                            what a consumer reports to the provider", verb_database_pep},
            };
            return all;
        }

        int run_within(Session& session, const std::vector<std::string>& words, std::string& output)
        {
            for (const auto& entry : verbs()) {
                if (words.at(0) == entry.name) {
                    return entry.run(session, words, output);
                }
            }
            throw UsageError{"no such verb [" + words.at(0) + "]"};
        }
    } // namespace

    VerbResult run_verb(Session& session, const std::vector<std::string>& words)
    {
        if (words.empty()) {
            throw UsageError{"a verb is missing"};
        }
        for (const auto& entry : verbs()) {
            if (words[0] != entry.name) {
                continue;
            }
            VerbResult result;
            session.last_failure.clear();
            try {
                result.code = entry.run(session, words, result.output);
            }
            catch (const Failure& failure) {
                session.last_failure = failure.what();
                result.code = failure.code();
            }
            result.messages = session.take_messages();
            result.failure = result.code < 0 ? session.last_failure : "";
            return result;
        }
        throw UsageError{"no such verb [" + words[0] + "]"};
    }

    std::string verbs_help()
    {
        std::string text;
        for (const auto& entry : verbs()) {
            std::string name = entry.name;
            name.resize(14, ' ');
            text += "  " + name + entry.words + "\n";
        }
        return text;
    }

    Json to_json_bytes(const std::string& bytes)
    {
        return is_utf8(bytes) ? Json{bytes} : Json::object({{"hex", to_hex(bytes)}});
    }

    std::string bytes_of(const Json& value)
    {
        if (const auto* hex = value.find("hex")) {
            return from_hex(hex->as_string());
        }
        return value.as_string();
    }
} // namespace zone
