"""The study that this project grew from: its Table 1 as printed, and what its author's files give."""
