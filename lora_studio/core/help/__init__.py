"""Help: topics of the settings, a file for who helps, what is taken out of it, licences."""
