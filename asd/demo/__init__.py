"""The embedded data set: machines made of simple physics, recorded in the challenge's layout.

``physics`` has the sounds, ``machines`` the machine types and their faults, ``dataset`` the files. Imports no other
room.
"""
