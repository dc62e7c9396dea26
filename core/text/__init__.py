"""Words, sentences and questions: functions of a text alone."""
