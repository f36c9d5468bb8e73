# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the OMERO rule engine plugin on a real iRODS server. Run as the service account:

    python3 scripts/run_tests.py --run_s test_rule_engine_plugin_omero

No OMERO is needed: an 'omero' command that cannot reach its server stands in for one. The server's configuration is put
back afterwards."""

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time
import unittest

from . import session
from .. import lib
from .. import test
from ..configuration import IrodsConfig
from ..controller import IrodsController

PLUGIN = 'irods_rule_engine_plugin-omero'
INSTANCE = PLUGIN + '-instance'
NOT_PRIVILEGED = 'CAT_INSUFFICIENT_PRIVILEGE_LEVEL'


@unittest.skipIf(test.settings.TOPOLOGY_FROM_RESOURCE_SERVER, 'the plugin imports on the catalog provider')
class Test_Rule_Engine_Plugin_Omero(session.make_sessions_mixin([('otherrods', 'rods')],
                                                                [('omero_alice', 'apass'), ('omero_bobby', 'bpass')]),
                                    unittest.TestCase):
    def setUp(self):
        super(Test_Rule_Engine_Plugin_Omero, self).setUp()
        self.admin = self.admin_sessions[0]
        self.alice, self.bobby = self.user_sessions
        self.dir = tempfile.mkdtemp(prefix='omero-plugin-test-')
        self.omero = self.executable('omero', '#!/bin/sh\necho "Ice.ConnectionRefusedException" >&2\nexit 42\n')
        self.password = os.path.join(self.dir, 'omero.password')
        with open(os.open(self.password, os.O_CREAT | os.O_WRONLY, 0o600), 'w') as file:
            file.write('not the password of anything\n')

    def tearDown(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        super(Test_Rule_Engine_Plugin_Omero, self).tearDown()

    # --- the stage

    def executable(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, 'w') as file:
            file.write(text)
        os.chmod(path, stat.S_IRWXU)
        return path

    def stanza(self, **changes):
        """The plugin's configuration: alice has an OMERO user, bobby has none."""
        stanza = {
            'watch': [self.alice.session_collection, self.bobby.session_collection],
            'quiet_period_in_seconds': 1,
            'users': {'table': {'%s#%s' % (self.alice.username, self.alice.zone_name): 'alice'}},
            'visibility': {'vaults': [{'prefix': os.path.join(IrodsConfig().irods_directory, 'Vault')},
                                      {'prefix': '/var/lib/irods'}, {'prefix': '/tmp'}]},
            'omero': {'server': 'localhost', 'sudo_user': 'importer', 'password_file': self.password},
            'importer': {'mode': 'command', 'command': self.omero,
                         'work_directory': os.path.join(self.dir, 'work')},
        }
        stanza.update(changes)
        return stanza

    @contextlib.contextmanager
    def configured(self, stanza):
        """The server with the plugin as its first rule engine."""
        config = IrodsConfig()
        try:
            with lib.file_backed_up(config.server_config_path):
                server = config.server_config
                engines = server['plugin_configuration']['rule_engines']
                engines[:] = [engine for engine in engines if engine['plugin_name'] != PLUGIN]
                engines.insert(0, {'instance_name': INSTANCE, 'plugin_name': PLUGIN,
                                   'plugin_specific_configuration': stanza})
                server['advanced_settings']['delay_server_sleep_time_in_seconds'] = 1
                lib.update_json_file_from_dict(config.server_config_path, server)
                IrodsController().reload_configuration()
                yield
        finally:
            IrodsController().reload_configuration()

    def put(self, user, name):
        """Puts a file of a few bytes as a user; gives its logical path."""
        path = os.path.join(self.dir, name)
        with open(path, 'w') as file:
            file.write('bytes that are no image')
        logical_path = '%s/%s' % (user.session_collection, name)
        user.assert_icommand(['iput', '-f', path, logical_path])
        return logical_path

    def value(self, user, logical_path, attribute):
        """The value of an attribute on a data object; None if it has none."""
        out, _, _ = user.run_icommand(['imeta', 'ls', '-d', logical_path, attribute])
        values = [line[len('value: '):] for line in out.splitlines() if line.startswith('value: ')]
        return values[0] if values else None

    def wait_for_state(self, user, logical_path, state):
        deadline = time.time() + 60
        while time.time() < deadline:
            found = self.value(user, logical_path, 'irods::omero::state')
            if found == state:
                return
            time.sleep(0.5)
        self.fail('%s is %s, not %s' % (logical_path, found, state))

    # --- the tests

    def test_an_empty_stanza_loads_and_does_nothing(self):
        with self.configured({}):
            logical_path = self.put(self.alice, 'empty_stanza.tif')
            out, _, _ = self.alice.run_icommand(['imeta', 'ls', '-C', self.alice.session_collection])
            self.assertNotIn('irods::omero', out)
            self.assertIsNone(self.value(self.alice, logical_path, 'irods::omero::state'))

    def test_a_broken_stanza_hinders_nobody(self):
        with self.configured({'wotch': []}):
            self.put(self.alice, 'broken_stanza.tif')

    def test_data_of_a_user_without_an_omero_user_is_skipped_with_the_reason(self):
        with self.configured(self.stanza()):
            logical_path = self.put(self.bobby, 'unmapped.tif')
            self.wait_for_state(self.bobby, logical_path, 'skipped')
            self.assertIn('has no OMERO user', self.value(self.bobby, logical_path, 'irods::omero::reason'))

    def test_data_waits_while_omero_is_away(self):
        with self.configured(self.stanza()):
            logical_path = self.put(self.alice, 'waits.tif')
            self.wait_for_state(self.alice, logical_path, 'pending')
            self.assertIn('cannot be reached', self.value(self.alice, logical_path, 'irods::omero::reason'))

    def test_our_attributes_are_reserved(self):
        with self.configured(self.stanza()):
            logical_path = self.put(self.alice, 'reserved.tif')
            for words in (['add', '-d', logical_path, 'irods::omero::state', 'imported'],
                          ['set', '-d', logical_path, 'irods::omero::owner', 'root'],
                          ['add', '-C', self.alice.session_collection, 'irods::omero::due', 'x']):
                self.alice.assert_icommand(['imeta'] + words, 'STDERR', NOT_PRIVILEGED)
            self.admin.assert_icommand(
                ['imeta', 'add', '-u', self.alice.username, 'irods::omero::user', 'alice'])
            self.admin.assert_icommand(
                ['imeta', 'rm', '-u', self.alice.username, 'irods::omero::user', 'alice'])

    def test_an_operation_answers_by_irule(self):
        with self.configured(self.stanza()):
            question = json.dumps({'operation': 'who'})
            out, _, code = self.alice.run_icommand(['irule', '-r', INSTANCE, question, 'null', 'ruleExecOut'])
            self.assertEqual(0, code)
            self.assertEqual('alice', json.loads(out)['omero_user'])
