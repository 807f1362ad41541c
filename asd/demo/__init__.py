"""The embedded data set: machine types made of simple physics, recorded in the challenge's layout.

``physics`` makes sounds, ``faults`` says what goes wrong, ``machines`` has the machine types, ``surroundings`` adds
what a microphone hears beside them, ``clips`` draws a clip's conditions, ``dataset`` writes the files. Imports no other
room.
"""
