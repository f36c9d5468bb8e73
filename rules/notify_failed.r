# Whoever owns data that could not be imported gets a mail, once for each data object: an AVU remembers it.
#
#   irule -r irods_rule_engine_plugin-irods_rule_language-instance -F notify_failed.r
#
# Run it as an administrator: the queries then see the data of everybody. It repeats itself; iqdel ends it. The mail is sent
# by the script omero_mail, which has to be in /var/lib/irods/msiExecCmd_bin (5.0.2 has no microservice for it).
notifyFailed {
    delay("<INST_NAME>irods_rule_engine_plugin-irods_rule_language-instance</INST_NAME><PLUSET>60s</PLUSET><EF>15m</EF>") {
        foreach (*row in SELECT COLL_NAME, DATA_NAME, DATA_OWNER_NAME WHERE META_DATA_ATTR_NAME = 'irods::omero::state' AND META_DATA_ATTR_VALUE = 'failed') {
            *collection = *row.COLL_NAME;
            *name = *row.DATA_NAME;
            *owner = *row.DATA_OWNER_NAME;
            *told = 0;
            foreach (*mail in SELECT META_DATA_ATTR_VALUE WHERE COLL_NAME = '*collection' AND DATA_NAME = '*name' AND META_DATA_ATTR_NAME = '*remembered') {
                *told = 1;
            }
            if (*told == 0) {
                *json = "";
                *code = errorcode(omero_state("*collection/*name", *json));
                # It may have been tried again meanwhile.
                if (*code == 0 && *json like regex ".*\"state\":\"failed\".*") {
                    msiExecCmd("omero_mail", "*owner@*domain \"*collection/*name\"", "null", "null", "null", *out);
                    msiAddKeyVal(*note, *remembered, "*owner");
                    msiAssociateKeyValuePairsToObj(*note, "*collection/*name", "-d");
                }
            }
        }
    }
    writeLine("stdout", "who owns data that is not imported gets a mail at *domain");
}
INPUT *domain="example.org", *remembered="lab::told_of_failure"
OUTPUT ruleExecOut
