# SPDX-License-Identifier: Apache-2.0
"""The wing of accounts: users, organisations and teams, what they may do, and the tokens that they are given.

    names, models         what there is
    policy, rights        who may what: the rule as a pure function, and where levels come from
    passwords, logins     who is it
    changes               the one door for changes, which the audit trail watches; behind it
                          admin (users), organisations, ownership, accesstokens
    garant, api, commands the doors to the outside: /auth/token, /api/v1, and `troth-registry`

The registry's core does not know it: the core believes tokens (`trust.tokens`), and this wing issues them.
"""
