"""Metrics of the field over a folder of generated and a folder of real clips: FVD, KVD, IS, FID, CLIPSIM and PIC.

`python -m cinemo_core.evaluation` is the command (`__main__`). `settings` says what is asked for and `weights` where the
networks are published; `clips`, `captions` read the data; `features`, `embeddings` are the networks; `measure` runs them over
a folder, on any number of processes; `frechet`, `kernel`, `inception`, `similarity` turn features into numbers, in float64;
`report` puts them down with everything that a comparison needs to know. docs/evaluation.md has the protocols.
"""
