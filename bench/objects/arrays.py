"""Engines that store one n-dimensional array, each with two threads and the same kind of codec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import Engine, NotOffered, load, sync_file, sync_tree
from bench.engines.kist_store import KistEngine


class ArrayEngine(Engine):
    """One array."""

    chunks: ClassVar[tuple[int, ...]] = (64, 64, 64)
    """What engines without a good choice of their own are given for a cube."""

    @abstractmethod
    def write(self, values: Any) -> None:
        """Store an array; durable on return."""

    @abstractmethod
    def open(self) -> None:
        """Open what ``write`` made."""

    @abstractmethod
    def read(self, key: Any) -> Any:
        """``array[key]`` as an ndarray."""

    def close(self) -> None:
        """Close what ``open`` opened."""

    def _chunks(self, values: Any) -> tuple[int, ...]:
        if values.ndim == len(self.chunks):
            return self.chunks
        return (min(1 << 17, values.size),)


class Kist(KistEngine, ArrayEngine):
    """kist with its defaults."""

    codec: ClassVar[str] = "auto"

    def write(self, values: Any) -> None:
        with load("kist").open(self.folder / "array.kist", "w") as store:
            store.create_array("a", values, codec=self.codec)

    def open(self) -> None:
        self._store = load("kist").open(self.folder / "array.kist")
        self._array = self._store["a"]

    def read(self, key: Any) -> Any:
        return self._array[key]

    def close(self) -> None:
        self._store.close()


class KistFast(Kist):
    """The preset that favours speed."""

    name = "kist-fast"
    codec = "fast"


class KistLZ4(Kist):
    """The codec that the peers are given."""

    name = "kist-lz4"
    codec = "lz4+shuffle"


class Zarr(ArrayEngine):
    """Zarr 3 in a folder: Blosc with LZ4 and shuffle."""

    name = "zarr"
    modules = ("zarr",)

    def write(self, values: Any) -> None:
        zarr = load("zarr")
        path = self.folder / "array.zarr"
        codec = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
        array = zarr.create_array(
            str(path),
            shape=values.shape,
            dtype=values.dtype,
            chunks=self._chunks(values),
            compressors=codec,
        )
        array[...] = values
        sync_tree(path)

    def open(self) -> None:
        self._array = load("zarr").open_array(str(self.folder / "array.zarr"), mode="r")

    def read(self, key: Any) -> Any:
        return self._array[key]


class H5py(ArrayEngine):
    """HDF5 with hdf5plugin's Blosc, LZ4 and shuffle."""

    name = "h5py"
    modules = ("h5py", "hdf5plugin")

    def write(self, values: Any) -> None:
        path = self.folder / "array.h5"
        blosc = load("hdf5plugin").Blosc(cname="lz4", clevel=5, shuffle=1)
        with load("h5py").File(path, "w") as file:
            file.create_dataset("a", data=values, chunks=self._chunks(values), **blosc)
        sync_file(path)

    def open(self) -> None:
        load("hdf5plugin")
        self._file = load("h5py").File(self.folder / "array.h5")
        self._array = self._file["a"]

    def read(self, key: Any) -> Any:
        return self._array[key]

    def close(self) -> None:
        self._file.close()


class Blosc2(ArrayEngine):
    """Blosc2's NDArray, LZ4 and shuffle; cubes with the chunks and blocks that suit planes."""

    name = "blosc2"
    modules = ("blosc2",)
    places: ClassVar[dict[str, Any]] = {"chunks": (128,) * 3, "blocks": (32,) * 3}

    def write(self, values: Any) -> None:
        blosc2 = load("blosc2")
        path = self.folder / "array.b2nd"
        places = self.places if values.ndim == 3 and min(values.shape) >= 128 else {}
        cparams = blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5, nthreads=self.threads)
        blosc2.asarray(values, urlpath=str(path), mode="w", cparams=cparams, **places)
        sync_file(path)

    def open(self) -> None:
        blosc2 = load("blosc2")
        self._array = blosc2.open(
            str(self.folder / "array.b2nd"), mode="r", dparams=blosc2.DParams(nthreads=self.threads)
        )

    def read(self, key: Any) -> Any:
        return self._array[key]


class Blosc2Auto(Blosc2):
    """The same with the chunks and blocks that Blosc2 chooses by itself."""

    name = "blosc2-auto"
    places: ClassVar[dict[str, Any]] = {}


class NetCDF4(ArrayEngine):
    """A NetCDF-4 variable through netCDF4: zlib and shuffle, as its users compress."""

    name = "netcdf4"
    modules = ("netCDF4",)

    def write(self, values: Any) -> None:
        path = self.folder / "array.nc"
        with load("netCDF4").Dataset(path, "w") as file:
            names = [f"d{axis}" for axis in range(values.ndim)]
            for name, length in zip(names, values.shape, strict=True):
                file.createDimension(name, length)
            variable = file.createVariable(
                "a",
                values.dtype,
                names,
                compression="zlib",
                complevel=1,
                shuffle=True,
                chunksizes=self._chunks(values),
            )
            variable[...] = values
        sync_file(path)

    def open(self) -> None:
        self._file = load("netCDF4").Dataset(self.folder / "array.nc")
        self._file.set_auto_mask(False)
        self._array = self._file["a"]

    def read(self, key: Any) -> Any:
        return self._array[key]

    def close(self) -> None:
        self._file.close()


class Pcodec(ArrayEngine):
    """pcodec's own standalone format in one file: a codec without partial reads."""

    name = "pcodec"
    modules = ("pcodec",)

    def write(self, values: Any) -> None:
        pcodec = load("pcodec")
        path = self.folder / "array.pco"
        path.write_bytes(
            pcodec.standalone.simple_compress(values.reshape(-1), pcodec.ChunkConfig())
        )
        sync_file(path)

    def open(self) -> None:
        self._data = (self.folder / "array.pco").read_bytes()

    def read(self, key: Any) -> Any:
        return load("pcodec").standalone.simple_decompress(self._data)[key]


class Npy(ArrayEngine):
    """``np.save``; parts through a memory map."""

    name = "npy"

    def write(self, values: Any) -> None:
        path = self.folder / "array.npy"
        np.save(path, values)
        sync_file(path)

    def open(self) -> None:
        self._array = np.load(self.folder / "array.npy", mmap_mode="r")

    def read(self, key: Any) -> Any:
        return np.array(self._array[key])


class Memcpy(ArrayEngine):
    """One copy into fresh memory, and that is all."""

    name = "limit:memcpy"

    def write(self, values: Any) -> None:
        self._array = values.copy()

    def open(self) -> None:
        pass

    def read(self, key: Any) -> Any:
        return self._array[key].copy()


class Disk(ArrayEngine):
    """As many bytes as kist stores, written and synced."""

    name = "limit:disk-stored"

    def write(self, values: Any) -> None:
        path = self.folder / "array.bin"
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        path.write_bytes(data[: self.like_bytes or len(data)].data)
        sync_file(path)

    def open(self) -> None:
        raise NotOffered

    def read(self, key: Any) -> Any:
        raise NotOffered


class Npz(ArrayEngine):
    """``np.savez_compressed``."""

    name = "npz-zlib"

    def write(self, values: Any) -> None:
        path = self.folder / "array.npz"
        np.savez_compressed(path, a=values)
        sync_file(path)

    def open(self) -> None:
        pass

    def read(self, key: Any) -> Any:
        with np.load(self.folder / "array.npz") as file:
            return file["a"][key]
