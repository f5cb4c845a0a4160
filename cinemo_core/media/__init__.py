"""Pictures and clips out of people's files, as they are meant to be seen: one reader for training and evaluation."""
