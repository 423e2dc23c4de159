"""What the moves of a switch do, and where attention rests."""
