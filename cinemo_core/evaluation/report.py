"""The result: numbers with all that somebody needs to know who compares them, as JSON and as a table."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .measure import Measured
from .settings import FRAMES, PROTOCOLS, Settings
from .weights import NETWORKS

TITLES = {
    "fvd": "FVD, lower is better",
    "kvd": "KVD, lower is better",
    "is": "IS, higher is better",
    "fid": "FID, lower is better",
    "clipsim": "CLIPSIM, higher is better",
    "pic": "PIC, higher is better",
}
NAMED = 5  # bad clips named in the table; the JSON names all


@dataclass(frozen=True)
class Report:
    """An evaluation and how it was done.

    values: by metric, what it measured. failed: by metric, why it could not be. networks: by network, its path and the width
    of its features. differs: in one sentence each, where this is not what the paper did.
    """

    settings: Settings
    generated: Measured
    real: Measured
    values: dict[str, dict[str, float]]
    failed: dict[str, str]
    networks: dict[str, tuple[Path, int]]

    @property
    def differs(self) -> list[str]:
        s, protocol = self.settings, PROTOCOLS[self.settings.protocol]
        lines = []
        for side, measured in self._sides().items():
            if protocol.clips is not None and len(measured.names) != protocol.clips:
                lines.append(f"{len(measured.names):,} {side} clips instead of {protocol.clips:,}")
        if s.frames != FRAMES:
            lines.append(f"{s.frames} frames instead of {FRAMES}")
        if s.protocol != "folder":
            others = [metric.upper() for metric in s.metrics if metric not in protocol.metrics]
            lines += [f"the paper gives no {', '.join(others)} here"] if others else []
        for name, (_, width) in self.networks.items():
            if width != NETWORKS[name].width:
                lines.append(f"the network {name} gives {width} numbers, the published one {NETWORKS[name].width}")
        fewest = min(len(measured.names) for measured in self._sides().values())
        if "fvd" in s.metrics and fewest <= self.networks["i3d"][1]:
            lines.append(f"{fewest:,} clips are too few for the {self.networks['i3d'][1]} features of FVD; its value is biased")
        if "fid" in s.metrics and fewest * s.frames <= self.networks["inception"][1]:
            lines.append(
                f"{fewest * s.frames:,} frames are too few for the {self.networks['inception'][1]} features of FID; its value is biased"
            )
        if "pic" in s.metrics and s.images is None:
            lines.append("PIC took the first frame of each clip for its input image")
        lines.append(
            "the paper names neither the resolution and the frame interval of these measurements, nor the frames of FID, the splits "
            "of IS and the CLIP model; what was used stands here and in docs/evaluation.md"
        )
        return lines

    def to_json(self) -> str:
        """Everything, with the full names of the clips that could not be used."""
        s = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.settings).items()}
        sides = {
            side: {"clips": len(measured.names), "unusable": [bad._asdict() for bad in measured.bad]}
            for side, measured in self._sides().items()
        }
        networks = {name: {"path": str(path), "features": width} for name, (path, width) in self.networks.items()}
        content = {
            "metrics": self.values,
            "failed": self.failed,
            "settings": s,
            "clips": sides,
            "networks": networks,
            "differs_from_the_paper": self.differs,
        }
        return json.dumps(content, indent=2) + "\n"

    def to_text(self) -> str:
        """A header that says what was done, and a line per metric."""
        s = self.settings
        lines = [
            f"protocol    {s.protocol}: {PROTOCOLS[s.protocol].text}",
            f"frames      {s.frames} of {s.width}x{s.height} pixels ({s.resize})",
        ]
        if self.real.names:
            lines.append(f"windows     of real clips: {s.real_start} start, stride {s.real_stride}")
        for side, measured in self._sides().items():
            unusable = f", {len(measured.bad)} could not be used" if measured.bad else ""
            lines.append(f"{side:<12}{len(measured.names):,} clips{unusable}")
            lines += [f"            {bad.name} {bad.reason}" for bad in measured.bad[:NAMED]]
            lines += ["            ..."] if len(measured.bad) > NAMED else []
        lines += [f"{name:<12}{path}" for name, (path, _) in self.networks.items()]
        lines += [f"{'differs' if i == 0 else '':<12}{line}" for i, line in enumerate(self.differs)]
        lines += ["", f"{'metric':<28}{'value':>14}"]
        for metric, value in self.values.items():
            deviation = f" +- {value['deviation']:.4f}" if "deviation" in value else ""
            lines.append(f"{TITLES[metric]:<28}{value['value']:>14.4f}{deviation}")
        lines += [f"{TITLES[metric]:<28}not measured: {reason}" for metric, reason in self.failed.items()]
        return "\n".join(lines)

    def _sides(self) -> dict[str, Measured]:
        return {"generated": self.generated} | ({"real": self.real} if self.real.names else {})
