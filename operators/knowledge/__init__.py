"""What is learned across customers: the merchant table, the learner and its versions, and the board of what is in force. Pure."""
