"""The motion of a clip: measured, shown, taken apart, joined."""
