"""A gate for the quality of retrieval that needs neither labels nor an LLM.

    python -m core.quality

Two kinds of questions have known answers in every installation: turns that were answered (their
traces name the passages) and the headings of documents (their sections answer them).
"""
