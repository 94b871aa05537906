"""Workloads of arrays, key stores, strings and many datasets, each beside its peers.

- ``keystore``: the KeyStore demo of 2016: two arrays a key, built, got, put.
- ``million``: small values under many keys; put in bulk, got one by one, durable puts.
- ``volume``: a smooth f4 cube; written, read, planes along each axis, small cubes.
- ``lines``: ``linspace`` and its sine; size, writing, reading.
- ``listing``: 10,000 datasets in one file: built, opened and listed, first read, import.
- ``strings``: a million addresses: written, read, found, taken.
- ``others``: data that favours others.
- ``grown``: an array appended to and overwritten many times, memory of working in blocks.

``arrays`` and ``keys`` hold the engines of several of them.
"""
