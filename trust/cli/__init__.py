# SPDX-License-Identifier: Apache-2.0
"""The command `troth`: what a person does by hand, the library's first user.

It knows the three services as a shell does, by the names of their programs, and imports none of them.
"""
