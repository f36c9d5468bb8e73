# Data that could not be imported because its collection has no project is refused when it is put, and not found later
# among the failed. For a target such as "Project:name:{avu:project}/Dataset:name:{collection[-1]}".
#
# A policy for a rule base: copy it to /etc/irods, name it ("refuse_without_project") in the re_rulebase_set of the native
# rule engine, before "core", and reload the server. To ask about one path without installing it:
#
#   irule -r irods_rule_engine_plugin-irods_rule_language-instance \
#     'refuseWithoutProject("/tempZone/home/alice/a.tif")' null ruleExecOut
pep_api_data_obj_put_pre(*INSTANCE_NAME, *COMM, *DATAOBJINP, *BUFFER, *PORTAL_OPR_OUT) {
    refuseWithoutProject(*DATAOBJINP.obj_path);
}

# What would become of the data is asked; whoever may not ask, or what is not watched, is none of our business.
refuseWithoutProject(*path) {
    *json = "";
    *code = errorcode(omero_explain("", *path, *json));
    if (*code == 0 && *json like regex ".*\"outcome\":\"failed\".*") {
        failmsg(-1, "there is no project to import *path into: add an AVU 'project' to its collection first");
    }
}
