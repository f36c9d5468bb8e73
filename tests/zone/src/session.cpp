// SPDX-License-Identifier: BSD-3-Clause

#include "session.hpp"

#include "remote.hpp"
#include "support.hpp"

#include "irods/irods_log.hpp"
#include "irods/irods_plugin_context.hpp"

#include <cxxabi.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace zone
{
    namespace
    {
        Session* the_session = nullptr;
        Server* the_server = nullptr;

        // "DataObjInp*" for a boost::any that holds one.
        std::string type_name(const boost::any& value)
        {
            int status = 0;
            char* readable = abi::__cxa_demangle(value.type().name(), nullptr, nullptr, &status);
            std::string name = status == 0 ? readable : value.type().name();
            std::free(readable);
            return name;
        }

        std::string type_names(const Arguments& arguments)
        {
            std::string names;
            const char* separator = "";
            for (const auto& argument : arguments) {
                names += separator + type_name(argument);
                separator = " | ";
            }
            return names;
        }

        // One class of an operation's PEPs: its code, or 0 where nobody has the rule.
        irods::error invoke(Session& session, RuleContext& context, irods::plugin_context& plugin_context,
                            const std::string& instance, const std::string& operation, const char* pep_class,
                            const std::function<Arguments()>& arguments)
        {
            Server& server = session.server();
            const std::string name = "pep_" + operation + "_" + pep_class;
            const bool offered = is_offered(name);
            if (server.log_peps) {
                append_line(server.pep_log(), server.name + " pep " + name + " (" + type_names(arguments()) + ")" +
                                                  (offered ? "" : " [not offered]"));
            }
            if (!offered) {
                return SUCCESS();
            }
            session.count("pep_offered");
            if (!server.plugins.rule_exists(name)) {
                return SUCCESS();
            }
            const auto full_arguments = [&] {
                Arguments all{boost::any(instance), boost::any(plugin_context)};
                all.splice(all.end(), arguments());
                return all;
            };
            return server.plugins.exec_rule(name, full_arguments, context.callback(),
                                            [&](const std::string& engine, long long code) {
                                                session.count("pep_executed");
                                                if (server.log_peps) {
                                                    append_line(server.pep_log(), server.name + " exec " + name + " " + engine +
                                                                                      " " + std::to_string(code));
                                                }
                                            });
        }
    } // namespace

    Session::Session(Server& server, const std::string& user_with_zone)
        : server_{server}
        , database_{server.catalog_file()}
        , catalog_{database_, Catalog::zone_of(database_)}
        , comm_{std::make_unique<RsComm>()}
    {
        const auto hash = user_with_zone.find('#');
        const auto user = catalog_.user(user_with_zone.substr(0, hash),
                                        hash == std::string::npos ? catalog_.zone() : user_with_zone.substr(hash + 1));
        std::memset(static_cast<void*>(comm_.get()), 0, sizeof(RsComm));
        fill_user(comm_->clientUser, user);
        if (user.zone != catalog_.zone()) {
            // Whatever they are at home.
            comm_->clientUser.authInfo.authFlag = REMOTE_USER_AUTH;
        }
        comm_->proxyUser = comm_->clientUser;
        the_session = this;
    }

    Session::~Session()
    {
        for (auto& [number, open] : descriptors_) {
            if (open.file >= 0) {
                ::close(open.file);
            }
        }
        take_messages();
        the_session = nullptr;
    }

    Actor Session::actor() const
    {
        return {comm_->clientUser.userName, comm_->clientUser.rodsZone,
                comm_->clientUser.authInfo.authFlag == LOCAL_PRIV_USER_AUTH};
    }

    User Session::client_user()
    {
        return catalog_.user(comm_->clientUser.userName, comm_->clientUser.rodsZone);
    }

    void Session::count_call()
    {
        count("calls");
        if (++calls_ == dies_at_call) {
            write_statistics();
            ::kill(::getpid(), SIGKILL);
        }
    }

    void Session::count(const std::string& what, std::int64_t number)
    {
        if (number != 0) {
            statistics_[what] += number;
        }
    }

    void Session::write_statistics()
    {
        Json counts = Json::object();
        for (const auto& [name, number] : statistics_) {
            counts.set(name, number);
        }
        Json line = Json::object({{"user", actor().name},
                                  {"server", server_.name},
                                  {"pid", static_cast<std::int64_t>(::getpid())},
                                  {"counts", counts}});
        if (rule != 0) {
            line.set("rule", rule);
        }
        append_line(server_.ledger(), line.dump());
        if (!server_.statistics_file.empty()) {
            append_line(server_.statistics_file, line.dump());
        }
    }

    int Session::add_descriptor(OpenReplica open)
    {
        int number = 3; // the first three of the server's table are reserved
        while (descriptors_.count(number) != 0) {
            ++number;
        }
        descriptors_.emplace(number, std::move(open));
        return number;
    }

    std::vector<std::string> Session::take_messages()
    {
        std::vector<std::string> messages;
        rError_t& stack = comm_->rError;
        for (int i = 0; i < stack.len; ++i) {
            messages.emplace_back(stack.errMsg[i]->msg);
            std::free(stack.errMsg[i]);
        }
        std::free(stack.errMsg);
        stack.errMsg = nullptr;
        stack.len = 0;
        return messages;
    }

    void Session::set_remote(std::unique_ptr<Remote> remote)
    {
        remote_ = std::move(remote);
    }

    Session* current_session()
    {
        return the_session;
    }

    Server* current_server()
    {
        return the_server;
    }

    void set_current_server(Server* server)
    {
        the_server = server;
    }

    void fill_user(userInfo_t& info, const User& user)
    {
        copy_to(info.userName, user.name);
        copy_to(info.rodsZone, user.zone);
        copy_to(info.userType, user.type);
        copy_to(info.authInfo.authScheme, "native");
        info.authInfo.authFlag = user.type == "rodsadmin" ? LOCAL_PRIV_USER_AUTH : LOCAL_USER_AUTH;
    }

    void log_line(const std::string& level, const std::string& text)
    {
        Server* server = current_server();
        if (server == nullptr || server->directory.empty()) {
            return;
        }
        std::string one_line = text;
        while (!one_line.empty() && one_line.back() == '\n') {
            one_line.pop_back();
        }
        append_line(server->server_log(), catalog_now() + " " + server->name + " pid=" + std::to_string(::getpid()) + " " +
                                              level + ": " + one_line);
    }

    Outcome with_policy(Session& session, const std::string& instance, const std::string& operation,
                        const std::function<Arguments()>& arguments, const std::function<Outcome()>& run)
    {
        RuleContext context{session.comm(), ""};
        irods::plugin_property_map properties;
        irods::plugin_context plugin_context{session.comm(), properties};
        const auto pep = [&](const char* pep_class) {
            return invoke(session, context, plugin_context, instance, operation, pep_class, arguments);
        };
        const auto except = [&] { irods::log(pep("except")); };
        const auto finally = [&](Outcome outcome) {
            irods::log(pep("finally"));
            return outcome;
        };

        const auto before = pep("pre");
        Outcome outcome;
        if (before.code() != RULE_ENGINE_SKIP_OPERATION) {
            if (!before.ok()) {
                session.last_failure = "refused by " + operation + "_pre";
                except();
                return finally({static_cast<int>(before.code()), false});
            }
            try {
                outcome = run();
            }
            catch (const Failure& failure) {
                session.last_failure = failure.what();
                outcome = {failure.code(), false};
            }
            if (!outcome.ok) {
                except();
                return finally(outcome);
            }
        }
        const auto after = pep("post");
        if (!after.ok()) {
            session.last_failure = operation + "_post failed";
            except();
            return finally({static_cast<int>(after.code()), false});
        }
        return finally(outcome);
    }

    void database_operation_on_provider(Session& session, const std::string& name, const std::string& path,
                                        const std::function<void()>& run)
    {
        const auto answer = session.remote()->call({"database-pep", name, path});
        if (answer.code < 0) {
            throw Failure{answer.code, "the provider refused " + name};
        }
        run();
    }

    void resource_modified(Session& session, const std::string& resource)
    {
        std::string out_parameter;
        std::string* out = &out_parameter;
        with_policy(
            session, resource, "resource_modified", [&] { return Arguments{boost::any(out)}; }, [] { return Outcome{}; });
    }
} // namespace zone
