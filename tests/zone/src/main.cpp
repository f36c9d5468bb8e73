// SPDX-License-Identifier: BSD-3-Clause
// The command line of the stand-in zone, and the processes behind it: each run of the program is the agent
// factory of one server, which loads the plugins and calls `setup`; each connection is a forked child.

#include "administration.hpp"
#include "bench.hpp"
#include "delay.hpp"
#include "meeting.hpp"
#include "operations.hpp"
#include "remote.hpp"
#include "session.hpp"
#include "support.hpp"
#include "verbs.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <map>
#include <sstream>

namespace zone
{
    namespace
    {
        constexpr int exit_failed = 1;
        constexpr int exit_usage = 2;

        const char* const usage = R"(usage: zone -d DIRECTORY [option...] COMMAND

Options:
  --plugin-dir DIR     where lib<plugin_name>.so is (or ZONE_PLUGIN_DIR, or what init was told)
  --server NAME        act on this consumer instead of the provider
  --pep-log            write every policy enforcement point to DIRECTORY/pep.log (or ZONE_PEP_LOG=1)
  --stats FILE         append the lines of DIRECTORY/costs.log to this file as well

Commands:
  init [--zone NAME] [--config server_config.json] [--plugin-dir DIR]
  server add NAME [--config server_config.json]        a catalog consumer
  user add NAME [--type rodsuser|rodsadmin]
  group add NAME | group member GROUP USER
  resource add NAME VAULT|- [--type unixfilesystem|replication|passthru] [--parent NAME]
  as USER VERB [WORD...]                               one connection, one verb
  as USER script FILE|-                                one connection, a JSON array of words per line;
                                                       {"hex": ".."} in place of a string gives bytes
  delay-server [--executors N] [--sleep SECONDS] [--until-idle | --once] [--timeout SECONDS]
               [--killed-agent failed|stuck]
  rules USER                                           what the plugins list
  bench rule-exists NAME COUNT
  bench event PEP COUNT [--user USER] [--collection PATH]
  sql QUERY                                            straight from the catalog, tab-separated
  policy administrators|everybody                      who may change AVUs by the site's own rules
  vault-scheme graft|random                            where new replicas lie in their vault: by their path, or scattered
  queue [--user NAME] [--at SECONDS | --in SECONDS] [--frequency EF] [--priority P] [--instance NAME] [--count N]
        [--lock HOST [--lock-pid PID] [--lock-time SECONDS]] TEXT
                                                       rows of the delay queue, past the server
  rum                                                  removes the rows of AVUs that no object has (iadmin rum)
  meeting avu|collection CLIENTS [SUBJECT]             so many clients wait for each other between looking for a row and
                                                       inserting it; SUBJECT is the attribute or the path
  meeting before-FUNCTION CLIENTS [USER]               before a plugin's call of a function of the server
  meeting present POINT | join POINT                   how many have come; come as one of them, without waiting
  costs                                                sums of what plugins cost, of all agents that have ended

Verbs:
)";

        // What is left of the command line.
        class Line
        {
          public:
            explicit Line(std::vector<std::string> words)
                : words_{std::move(words)}
            {
            }
            bool done() const { return at_ >= words_.size(); }
            std::string next(const char* what)
            {
                if (done()) {
                    throw UsageError{std::string{what} + " is missing"};
                }
                return words_[at_++];
            }
            bool take(const std::string& word)
            {
                if (done() || words_[at_] != word) {
                    return false;
                }
                ++at_;
                return true;
            }
            std::vector<std::string> rest()
            {
                std::vector<std::string> left(words_.begin() + static_cast<std::ptrdiff_t>(at_), words_.end());
                at_ = words_.size();
                return left;
            }
            void end() const
            {
                if (!done()) {
                    throw UsageError{"what is [" + words_[at_] + "]?"};
                }
            }

          private:
            std::vector<std::string> words_;
            std::size_t at_ = 0;
        };

        struct Global
        {
            std::string directory;
            std::string plugin_directory;
            std::string server = "provider";
            bool log_peps = std::getenv("ZONE_PEP_LOG") != nullptr;
            std::string statistics_file;
        };

        std::string absolute(const std::string& path)
        {
            if (!path.empty() && path[0] == '/') {
                return path;
            }
            char here[PATH_MAX];
            return ::getcwd(here, sizeof here) == nullptr ? path : std::string{here} + "/" + path;
        }

        std::string config_directory(const Global& global)
        {
            return global.server == "provider" ? global.directory + "/config"
                                               : global.directory + "/servers/" + global.server + "/config";
        }

        // ---- making a zone -----------------------------------------------------------------------------------

        Json default_config(const std::string& zone_name, const char* role)
        {
            return Json::object({{"zone_name", zone_name},
                                 {"zone_user", "rods"},
                                 {"catalog_service_role", role},
                                 {"default_resource_name", "demoResc"},
                                 {"plugin_configuration", Json::object({{"rule_engines", Json::array()}})}});
        }

        void write_config(const std::string& directory, const std::string& given, const Json& otherwise)
        {
            make_directories(directory);
            write_file(directory + "/server_config.json", given.empty() ? otherwise.dump() : read_file(given));
        }

        void add_user(Catalog& catalog, const std::string& name, const std::string& type)
        {
            // A user of another zone has a home of the name with the zone, as iadmin mkuser makes it.
            const auto hash = name.find('#');
            const auto zone = hash == std::string::npos ? catalog.zone() : name.substr(hash + 1);
            catalog.add_user(name.substr(0, hash), type, zone);
            const auto user = catalog.user(name.substr(0, hash), zone);
            const std::string root = "/" + catalog.zone();
            catalog.create_collection(root + "/home/" + name, user);
            catalog.create_collection(root + "/trash/home/" + name, user);
        }

        int init(const Global& global, Line& line)
        {
            std::string zone_name = "tempZone";
            std::string config;
            std::string plugins = global.plugin_directory;
            while (!line.done()) {
                if (line.take("--zone")) {
                    zone_name = line.next("zone name");
                }
                else if (line.take("--config")) {
                    config = line.next("configuration file");
                }
                else if (line.take("--plugin-dir")) {
                    plugins = absolute(line.next("plugin directory"));
                }
                else {
                    line.end();
                }
            }
            make_directories(global.directory);
            if (file_exists(global.directory + "/catalog.sqlite")) {
                throw UsageError{"[" + global.directory + "] has a zone already"};
            }
            write_config(config_directory(global), config, default_config(zone_name, "provider"));
            if (!plugins.empty()) {
                write_file(global.directory + "/plugin_dir", plugins);
            }
            Database database{global.directory + "/catalog.sqlite"};
            Transaction transaction{database};
            Catalog::create_schema(database, zone_name);
            Catalog catalog{database, zone_name};
            catalog.add_user("public", "rodsgroup", zone_name);
            catalog.add_user("rodsadmin", "rodsgroup", zone_name);
            catalog.add_user("rods", "rodsadmin", zone_name);
            catalog.add_to_group("rodsadmin", "rods");
            const auto rods = catalog.user("rods", zone_name);
            const std::string root = "/" + zone_name;
            for (const auto& path : {std::string{"/"}, root, root + "/home", root + "/home/rods", root + "/home/public",
                                     root + "/trash", root + "/trash/home", root + "/trash/home/rods"}) {
                catalog.create_collection(path, rods);
            }
            catalog.set_access(catalog.collection(root + "/home/public").id, catalog.user("public", zone_name), access::own);
            make_directories(global.directory + "/Vault");
            catalog.add_resource("demoResc", "unixfilesystem", absolute(global.directory + "/Vault"), "");
            transaction.commit();
            return 0;
        }

        int administrate(const Global& global, const std::string& kind, Line& line)
        {
            Database database{global.directory + "/catalog.sqlite"};
            Catalog catalog{database, Catalog::zone_of(database)};
            const std::string act = line.next("add");
            const std::string name = line.next("name");
            std::string type;
            std::string parent;
            std::string config;
            std::string vault;
            if (kind == "resource" && act == "add") {
                vault = line.next("vault");
            }
            if (kind == "group" && act == "member") {
                catalog.add_to_group(name, line.next("user"));
                line.end();
                return 0;
            }
            while (!line.done()) {
                if (line.take("--type")) {
                    type = line.next("type");
                }
                else if (line.take("--parent")) {
                    parent = line.next("parent");
                }
                else if (line.take("--config")) {
                    config = line.next("configuration file");
                }
                else {
                    line.end();
                }
            }
            if (act != "add") {
                throw UsageError{"what is [" + kind + " " + act + "]?"};
            }
            if (kind == "user") {
                Transaction transaction{database};
                add_user(catalog, name, type.empty() ? "rodsuser" : type);
                transaction.commit();
            }
            else if (kind == "group") {
                catalog.add_user(name, "rodsgroup", catalog.zone());
            }
            else if (kind == "resource") {
                const bool storage = vault != "-";
                if (storage) {
                    vault = absolute(vault);
                    make_directories(vault);
                }
                catalog.add_resource(name, type.empty() ? (storage ? "unixfilesystem" : "passthru") : type, storage ? vault : "", parent);
            }
            else {
                Global there = global;
                there.server = name;
                write_config(config_directory(there), config, default_config(catalog.zone(), "consumer"));
            }
            return 0;
        }

        // ---- the agent factory and its agents ----------------------------------------------------------------

        // The server as it starts: configuration read, plugins loaded, `setup` called.
        void start_server(Server& server, const Global& global)
        {
            server.directory = global.directory;
            server.name = global.server;
            server.config_directory = config_directory(global);
            server.log_peps = global.log_peps;
            server.statistics_file = global.statistics_file;
            server.config = Json::parse(read_file(server.config_directory + "/server_config.json"));
            const auto* role = server.config.find("catalog_service_role");
            server.is_provider = role == nullptr || role->as_string() == "provider";
            server.plugin_directory = global.plugin_directory;
            if (server.plugin_directory.empty()) {
                const char* environment = std::getenv("ZONE_PLUGIN_DIR");
                const std::string remembered = global.directory + "/plugin_dir";
                server.plugin_directory = environment != nullptr ? environment : file_exists(remembered) ? read_file(remembered) : ".";
            }
            set_current_server(&server);
            server.plugins.load(server.config, server.plugin_directory);
            server.plugins.setup();
        }

        // One connection, in a process of its own. Gives the exit status of that process.
        int with_agent(Server& server, const std::string& user, const std::function<int(Session&)>& work)
        {
            std::fflush(nullptr);
            const pid_t child = ::fork();
            if (child < 0) {
                throw Failure{SYS_INTERNAL_ERR, "fork"};
            }
            if (child == 0) {
                int status = exit_failed;
                try {
                    Session session{server, user};
                    if (!server.is_provider) {
                        std::vector<std::string> arguments{"-d", server.directory, "--plugin-dir", server.plugin_directory};
                        if (server.log_peps) {
                            arguments.emplace_back("--pep-log");
                        }
                        if (!server.statistics_file.empty()) {
                            arguments.insert(arguments.end(), {"--stats", server.statistics_file});
                        }
                        arguments.insert(arguments.end(), {"as", user, "script", "-"});
                        session.set_remote(std::make_unique<Remote>("zone", arguments));
                    }
                    server.plugins.start();
                    status = work(session);
                    abandon_descriptors(session);
                    server.plugins.stop();
                    session.write_statistics();
                }
                catch (const UsageError& e) {
                    std::fprintf(stderr, "zone: %s\n", e.what());
                    status = exit_usage;
                }
                catch (const std::exception& e) {
                    std::fprintf(stderr, "zone: %s\n", e.what());
                }
                std::fflush(nullptr);
                ::_exit(status);
            }
            int status = 0;
            while (::waitpid(child, &status, 0) < 0) {
            }
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }

        int one_verb(Session& session, const std::vector<std::string>& words)
        {
            const auto result = run_verb(session, words);
            std::fwrite(result.output.data(), 1, result.output.size(), stdout);
            if (result.code >= 0) {
                return 0;
            }
            std::fprintf(stderr, "zone: %s: %d %s: %s\n", words[0].c_str(), result.code, error_name(result.code).c_str(),
                         result.failure.c_str());
            for (const auto& message : result.messages) {
                std::fprintf(stderr, "Level 0: %s\n", message.c_str());
            }
            return exit_failed;
        }

        int script(Session& session, std::istream& lines)
        {
            std::string line;
            while (std::getline(lines, line)) {
                if (line.empty() || line[0] == '#') {
                    continue;
                }
                const Json request = Json::parse(line);
                std::vector<std::string> words;
                for (const auto& word : request.elements()) {
                    words.push_back(word.kind() == Json::Kind::number ? std::to_string(word.as_integer()) : bytes_of(word));
                }
                const Statistics before = session.statistics();
                const auto result = run_verb(session, words);
                Json cost = Json::object();
                for (const auto& [name, number] : session.statistics()) {
                    const auto known = before.find(name);
                    if (const auto more = number - (known == before.end() ? 0 : known->second)) {
                        cost.set(name, more);
                    }
                }
                Json messages = Json::array();
                for (const auto& message : result.messages) {
                    messages.push(to_json_bytes(message));
                }
                const Json answer = Json::object({{"verb", words[0]},
                                                  {"code", result.code},
                                                  {"output", to_json_bytes(result.output)},
                                                  {"messages", messages},
                                                  {"failure", to_json_bytes(result.failure)},
                                                  {"cost", cost}});
                const std::string text = answer.dump() + "\n";
                std::fwrite(text.data(), 1, text.size(), stdout);
                std::fflush(stdout);
            }
            return 0;
        }

        int as_user(Server& server, Line& line)
        {
            const std::string user = line.next("user");
            if (!line.take("script")) {
                const auto words = line.rest();
                return with_agent(server, user, [&words](Session& session) { return one_verb(session, words); });
            }
            const std::string file = line.next("script");
            line.end();
            return with_agent(server, user, [&file](Session& session) {
                if (file == "-") {
                    return script(session, std::cin);
                }
                std::istringstream text{read_file(file)};
                return script(session, text);
            });
        }

        int delay_server(Server& server, Line& line)
        {
            DelayOptions options;
            while (!line.done()) {
                if (line.take("--executors")) {
                    options.executors = std::atoi(line.next("number").c_str());
                }
                else if (line.take("--sleep")) {
                    options.sleep_seconds = std::atof(line.next("seconds").c_str());
                }
                else if (line.take("--timeout")) {
                    options.timeout_seconds = std::atof(line.next("seconds").c_str());
                }
                else if (line.take("--until-idle")) {
                    options.until_idle = true;
                }
                else if (line.take("--once")) {
                    options.once = true;
                }
                else if (line.take("--killed-agent")) {
                    options.killed_means_stuck = line.next("failed or stuck") != "failed";
                }
                else {
                    line.end();
                }
            }
            return run_delay_server(server, options);
        }

        int bench(Server& server, Line& line)
        {
            const std::string kind = line.next("rule-exists or event");
            const std::string name = line.next("name");
            const long count = std::atol(line.next("count").c_str());
            std::string user = "rods";
            std::string collection;
            while (!line.done()) {
                if (line.take("--user")) {
                    user = line.next("user");
                }
                else if (line.take("--collection")) {
                    collection = line.next("collection");
                }
                else {
                    line.end();
                }
            }
            return with_agent(server, user, [&](Session& session) {
                const std::string target =
                    collection.empty() ? "/" + session.catalog().zone() + "/home/" + session.actor().name : collection;
                const std::string report =
                    kind == "event" ? bench_event(session, name, target, count) : bench_rule_exists(session, name, count);
                std::printf("%s\n", report.c_str());
                return 0;
            });
        }

        int meeting(const Global& global, Line& line)
        {
            const std::string point = line.next("point");
            if (point == "present" || point == "join") {
                const std::string which = line.next("point");
                line.end();
                if (point == "join") {
                    join_meeting(global.directory, which);
                }
                else {
                    std::printf("%zu\n", present_at_meeting(global.directory, which));
                }
                return 0;
            }
            const int clients = std::atoi(line.next("number of clients").c_str());
            const std::string subject = line.done() ? "" : line.next("subject");
            line.end();
            if (!is_meeting_point(point) || clients < 1) {
                throw UsageError{"a meeting is at [avu], [collection] or [before-FUNCTION], of at least one client"};
            }
            arrange_meeting(global.directory, point, clients, subject);
            return 0;
        }

        int policy(const Global& global, Line& line)
        {
            const std::string who = line.next("administrators or everybody");
            line.end();
            if (who != "administrators" && who != "everybody") {
                throw UsageError{"AVUs are changed by [administrators] or by [everybody]"};
            }
            set_metadata_policy(global.directory, who == "administrators");
            return 0;
        }

        int vault_scheme(const Global& global, Line& line)
        {
            const std::string scheme = line.next("graft or random");
            line.end();
            if (scheme != "graft" && scheme != "random") {
                throw UsageError{"a vault's paths are [graft] or [random]"};
            }
            const std::string mark = global.directory + "/scattered_vault";
            scheme == "random" ? write_file(mark, "") : remove_file(mark);
            return 0;
        }

        // Puts rows into the delay queue past the server: whoever's, locked by whomever.
        int queue_rows(const Global& global, Line& line)
        {
            Database database{global.directory + "/catalog.sqlite"};
            Catalog catalog{database, Catalog::zone_of(database)};
            DelayedRule rule;
            rule.user = "rods";
            rule.user_zone = catalog.zone();
            rule.user_type = "rodsadmin";
            rule.auth_flag = LOCAL_PRIV_USER_AUTH;
            rule.priority = "5";
            rule.due = std::to_string(std::time(nullptr));
            long count = 1;
            for (bool options = true; options;) {
                const auto take = [&line](const char* option, std::string& value) {
                    const bool there = line.take(option);
                    if (there) {
                        value = line.next(option);
                    }
                    return there;
                };
                std::string number;
                if (take("--count", number)) {
                    count = std::atol(number.c_str());
                }
                else if (take("--in", number)) {
                    rule.due = std::to_string(std::time(nullptr) + std::atol(number.c_str()));
                }
                else if (take("--user", rule.user)) {
                    const auto user = catalog.find_user(rule.user, rule.user_zone);
                    const bool administrator = user && user->type == "rodsadmin";
                    rule.user_type = administrator ? "rodsadmin" : "rodsuser";
                    rule.auth_flag = administrator ? LOCAL_PRIV_USER_AUTH : LOCAL_USER_AUTH;
                }
                else if (take("--lock", rule.lock_host)) {
                    rule.lock_pid = rule.lock_pid.empty() ? "1" : rule.lock_pid;
                    rule.lock_time = rule.lock_time.empty() ? catalog_now() : rule.lock_time;
                }
                else {
                    options = take("--at", rule.due) || take("--frequency", rule.frequency) || take("--priority", rule.priority) ||
                              take("--lock-pid", rule.lock_pid) || take("--lock-time", rule.lock_time) ||
                              take("--instance", rule.instance);
                }
            }
            rule.text = line.next("text");
            line.end();
            rule.listed_user = rule.user;
            Transaction transaction{database};
            for (long i = 0; i < count; ++i) {
                catalog.add_rule(rule);
            }
            transaction.commit();
            return 0;
        }

        // iadmin rum: the rows of AVUs that no object has.
        int remove_unused_metadata(const Global& global, Line& line)
        {
            line.end();
            Database database{global.directory + "/catalog.sqlite"};
            std::printf("%d\n", database.execute("delete from R_META_MAIN where meta_id not in (select meta_id from R_OBJT_METAMAP)"));
            return 0;
        }

        // The sums of the ledger: of clients' connections, and of the agents that ran delayed rules.
        int costs(const Global& global, Line& line)
        {
            line.end();
            Server server;
            server.directory = global.directory;
            std::map<std::string, Statistics> sums{{"clients", {}}, {"rules", {}}};
            const std::string text = file_exists(server.ledger()) ? read_file(server.ledger()) : "";
            for (const auto& entry : split(text, '\n')) {
                if (entry.empty()) {
                    continue;
                }
                const Json agent = Json::parse(entry);
                Statistics& sum = sums[agent.find("rule") != nullptr ? "rules" : "clients"];
                ++sum["agents"];
                for (const auto& [name, number] : agent.find("counts")->members()) {
                    sum[name] += number.as_integer();
                }
            }
            Json all = Json::object();
            for (const auto& [kind, sum] : sums) {
                Json counts = Json::object();
                for (const auto& [name, number] : sum) {
                    counts.set(name, number);
                }
                all.set(kind, counts);
            }
            std::printf("%s\n", all.dump().c_str());
            return 0;
        }

        int sql(const Global& global, Line& line)
        {
            Database database{global.directory + "/catalog.sqlite"};
            database.query(line.next("query"), {}, [](const Row& row) {
                for (int column = 0; column < row.columns(); ++column) {
                    const std::string text = row.text(column);
                    std::fwrite(text.data(), 1, text.size(), stdout);
                    std::fputc(column + 1 < row.columns() ? '\t' : '\n', stdout);
                }
            });
            return 0;
        }

        int run(Line line)
        {
            Global global;
            for (;;) {
                if (line.take("-d")) {
                    global.directory = absolute(line.next("directory"));
                }
                else if (line.take("--plugin-dir")) {
                    global.plugin_directory = absolute(line.next("plugin directory"));
                }
                else if (line.take("--server")) {
                    global.server = line.next("server");
                }
                else if (line.take("--pep-log")) {
                    global.log_peps = true;
                }
                else if (line.take("--stats")) {
                    global.statistics_file = absolute(line.next("file"));
                }
                else {
                    break;
                }
            }
            const std::string command = line.next("command");
            if (command == "help") {
                std::printf("%s%s", usage, verbs_help().c_str());
                return 0;
            }
            if (global.directory.empty()) {
                throw UsageError{"-d DIRECTORY is missing"};
            }
            if (command == "init") {
                return init(global, line);
            }
            if (command == "sql") {
                return sql(global, line);
            }
            if (command == "meeting") {
                return meeting(global, line);
            }
            if (command == "policy") {
                return policy(global, line);
            }
            if (command == "vault-scheme") {
                return vault_scheme(global, line);
            }
            if (command == "queue") {
                return queue_rows(global, line);
            }
            if (command == "rum") {
                return remove_unused_metadata(global, line);
            }
            if (command == "costs") {
                return costs(global, line);
            }
            for (const char* kind : {"user", "group", "resource", "server"}) {
                if (command == kind) {
                    return administrate(global, command, line);
                }
            }

            Server server;
            start_server(server, global);
            int status = exit_usage;
            if (command == "as") {
                status = as_user(server, line);
            }
            else if (command == "delay-server") {
                status = delay_server(server, line);
            }
            else if (command == "bench") {
                status = bench(server, line);
            }
            else if (command == "rules") {
                status = with_agent(server, line.next("user"), [](Session& session) {
                    for (const auto& rule : session.server().plugins.list_rules()) {
                        std::printf("%s\n", rule.c_str());
                    }
                    return 0;
                });
            }
            else {
                throw UsageError{"no such command [" + command + "]"};
            }
            server.plugins.teardown();
            set_current_server(nullptr);
            return status;
        }
    } // namespace
} // namespace zone

int main(int argc, char** argv)
{
    try {
        return zone::run(zone::Line{std::vector<std::string>(argv + 1, argv + argc)});
    }
    catch (const zone::UsageError& e) {
        std::fprintf(stderr, "zone: %s\n%s%s", e.what(), zone::usage, zone::verbs_help().c_str());
        return zone::exit_usage;
    }
    catch (const zone::Failure& e) {
        std::fprintf(stderr, "zone: %d %s: %s\n", e.code(), zone::error_name(e.code()).c_str(), e.what());
        return zone::exit_failed;
    }
    catch (const std::exception& e) {
        std::fprintf(stderr, "zone: %s\n", e.what());
        return zone::exit_failed;
    }
}
